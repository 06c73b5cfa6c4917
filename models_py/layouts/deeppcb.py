"""DeepPCB: binarised boards in pairs, a test image and its defect-free template."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property

from models_py.layouts._registry import Layout, register
from models_py.layouts._samples import GOOD, Label, Reject, Sample
from models_py.layouts._tree import Tree, folder, stem

CLASSES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
_LISTS = {"trainval.txt": "train", "train.txt": "train", "val.txt": "val", "test.txt": "test"}
_TEST = re.compile(r"(?P<base>.*/(?P<group>[^/]+))/(?P<board>[^/]+)_test\.jpg$", re.IGNORECASE)


@register
class DeepPCB(Layout):
    """Boxes from `N_not/ID.txt` (`x1 y1 x2 y2 type`), splits from the lists; templates are linked, never inspected."""

    name = "deeppcb"
    title = "DeepPCB"
    example = (
        "PCBData/group00041/00041/00041000_{test,temp}.jpg, group00041/00041_not/00041000.txt, trainval.txt, test.txt"
    )

    @classmethod
    def recognise(cls, tree: Tree) -> str | None:
        boards = [match for path in tree.images if (match := _TEST.match(path))]
        labelled = sum(_label_file(match) in tree.files for match in boards)
        if not labelled:
            return None
        return f"{len(boards):,} *_test.jpg boards, {labelled:,} of them with x1 y1 x2 y2 type lines in a N_not folder"

    @cached_property
    def _lists(self) -> dict[str, str]:
        """The split of each board from the list files, by the name of the board's label file."""
        splits: dict[str, str] = {}
        for path in self._list_files:
            for line in self.tree.text(path).splitlines():
                if fields := line.split():
                    splits[stem(fields[-1])] = _LISTS[path.rsplit("/", 1)[-1]]
        return splits

    @cached_property
    def _list_files(self) -> list[str]:
        return [path for path in self.tree.files if path.rsplit("/", 1)[-1] in _LISTS and self.tree.stat(path)]

    def samples(self) -> Iterator[Sample | Reject]:
        used: set[str] = set()
        for path in self.tree.images:
            if not (match := _TEST.match(path)):
                continue
            labels, template = _label_file(match), f"{path[: -len('_test.jpg')]}_temp.jpg"
            sources = (labels, *self._list_files) if labels in self.tree.files else ()
            pair = template if template in self.tree.files else None
            used.update((path, labels, template))
            yield Sample(
                image=path, sources=sources, template=pair, unit_id=match["board"], product_type=match["group"]
            )
        yield from self._unpaired(used)

    def _unpaired(self, used: set[str]) -> Iterator[Sample | Reject]:
        """Templates without a test image, and rejects for label files without one."""
        for path in self.tree.files:
            if path in used:
                continue
            if path.endswith("_temp.jpg"):
                yield Sample(image=path, inspected=False, labels=(Label("class", GOOD),))
            elif folder(path).endswith("_not"):
                yield Reject(path, f"no image {stem(path)}_test.jpg stands beside this label file")

    def labels(self, sample: Sample) -> Iterable[Label | Reject]:
        if not sample.sources:
            return sample.labels
        split = self._lists.get(stem(sample.sources[0]))
        labels = _parse(self.tree.text(sample.sources[0]), sample.sources[0], split)
        return labels or [Label("class", GOOD, split=split)]


def _label_file(board: re.Match[str]) -> str:
    return f"{board['base']}_not/{board['board']}.txt"


def _parse(text: str, path: str, split: str | None) -> list[Label | Reject]:
    try:
        numbers = list(map(int, text.split()))
    except ValueError:
        return list(_parse_lines(text, path, split))
    kinds = numbers[4::5]
    if len(numbers) % 5 or (kinds and not 1 <= min(kinds) <= max(kinds) <= len(CLASSES)):
        return list(_parse_lines(text, path, split))
    boxes = zip(numbers[0::5], numbers[1::5], numbers[2::5], numbers[3::5], strict=True)
    return [Label("box", CLASSES[kind - 1], box, split=split) for box, kind in zip(boxes, kinds, strict=True)]


def _parse_lines(text: str, path: str, split: str | None) -> Iterator[Label | Reject]:
    """Parse line by line, so that a reject names the line that is wrong."""
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.replace(",", " ").split()
        if not fields:
            continue
        try:
            x1, y1, x2, y2, kind = map(int, fields)
        except ValueError:
            yield Reject(path, f"line {number}: must be 'x1 y1 x2 y2 type' in whole numbers, but got {line!r}")
            continue
        if 1 <= kind <= len(CLASSES):
            yield Label("box", CLASSES[kind - 1], box=(x1, y1, x2, y2), split=split)
        else:
            yield Reject(path, f"line {number}: type must be 1 to {len(CLASSES)}, but got {kind}")
