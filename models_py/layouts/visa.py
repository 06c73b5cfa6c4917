"""VisA: normal and anomalous images for each object, with masks and two kinds of lists."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from functools import cached_property

from models_py.layouts._registry import Layout, register
from models_py.layouts._samples import GOOD, Label, Reject, Sample, canonical
from models_py.layouts._tree import Tree, folder

_LIST = re.compile(r"(?P<root>(?:.*/)?)(?P<object>[^/]+)/image_anno\.csv$")
_IMAGE = re.compile(r"(?P<root>(?:.*/)?)(?P<object>[^/]+)/Data/Images/(?P<kind>Normal|Anomaly)/[^/]+$")
_MASK = re.compile(r"(?P<object>.*)/Data/Masks/.*$")
_SPLITS = ("1cls.csv", "2cls_highshot.csv", "2cls_fewshot.csv")


@register
class VisA(Layout):
    """A class label for each anomaly named in `image_anno.csv`; the mask, which covers them all, takes the first."""

    name = "visa"
    title = "VisA"
    example = "candle/Data/{Images,Masks}/Anomaly/000.*, candle/image_anno.csv, split_csv/1cls.csv"

    @classmethod
    def recognise(cls, tree: Tree) -> str | None:
        objects = [match["object"] for path in tree.having("image_anno.csv") if (match := _LIST.match(path))]
        images = sum(_IMAGE.match(path) is not None for path in tree.images)
        if not objects or not images:
            return None
        return f"image_anno.csv and {images:,} images below Data/Images, for {', '.join(sorted(objects))}"

    @cached_property
    def _split_file(self) -> str | None:
        found = {
            path.rsplit("/", 1)[-1]: path for path in self.tree.having(".csv") if folder(path).endswith("split_csv")
        }
        return next((found[name] for name in _SPLITS if name in found), None)

    @cached_property
    def _splits(self) -> dict[str, str]:
        if self._split_file is None or isinstance(rows := _rows(self.tree, self._split_file, "image", "split"), Reject):
            return {}
        root = folder(folder(self._split_file))
        return {_join(root, row["image"]): row["split"] for row in rows if row["image"] and row["split"]}

    def samples(self) -> Iterator[Sample | Reject]:
        seen: set[str] = set()
        readable: set[str] = set()
        if self._split_file and isinstance(wrong := _rows(self.tree, self._split_file, "image", "split"), Reject):
            yield wrong
        for path in self.tree.having("image_anno.csv"):
            if not (match := _LIST.match(path)):
                continue
            if isinstance(rows := _rows(self.tree, path, "image", "label"), Reject):
                yield rows
                continue
            readable.add(folder(path))
            for number, row in enumerate(rows, 2):
                item = self._sample(path, match, row)
                if isinstance(item, Sample) and item.image not in seen:
                    seen.update((item.image, *item.sources))
                    yield item
                else:
                    reason = item if isinstance(item, str) else f"image {item.image!r} is listed twice"
                    yield Reject(path, f"line {number}: {reason}")
        yield from self._unlisted(seen, readable)

    def _unlisted(self, seen: set[str], readable: set[str]) -> Iterator[Sample | Reject]:
        """Samples for images in no list, and rejects for masks that no line of a readable list names."""
        for path in self.tree.images:
            if path in seen:
                continue
            if match := _IMAGE.match(path):
                labels = (Label("class", GOOD),) if match["kind"] == "Normal" else ()
                yield Sample(image=path, labels=labels, product_type=match["object"])
            elif (match := _MASK.match(path)) and match["object"] in readable:
                yield Reject(path, f"no usable line of {match['object']}/image_anno.csv names this mask")

    def _sample(self, path: str, match: re.Match[str], row: dict[str, str]) -> Sample | str:
        root = match["root"].rstrip("/")
        image = _join(root, row.get("image") or "")
        if image not in self.tree.files:
            return f"there is no image {row.get('image')!r}"
        names = [canonical(name) for name in (row.get("label") or "").split(",") if name.strip()]
        if not names:
            return f"image {row['image']!r} has no label"
        split = self._splits.get(image)
        labels = [Label("class", name, split=split) for name in names]
        mask = _join(root, row["mask"]) if row.get("mask") else None
        if mask is not None:
            labels.append(Label("mask", names[0], mask=mask, split=split))
        sources = tuple(filter(None, (path, mask, self._split_file)))
        return Sample(image=image, sources=sources, labels=tuple(labels), product_type=match["object"])


def _rows(tree: Tree, path: str, *needed: str) -> list[dict[str, str]] | Reject:
    """Read a CSV file, or return a reject if it lacks one of the columns needed."""
    if tree.stat(path) is None:
        return Reject(path, tree.why_not(path))
    reader = csv.DictReader(io.StringIO(tree.text(path)))
    try:
        rows = list(reader)
    except csv.Error as error:
        return Reject(path, f"line {reader.line_num}: not CSV: {error}")
    columns = reader.fieldnames or []
    if not set(needed) <= set(columns):
        return Reject(path, f"line 1: needs the columns {', '.join(needed)}, but has {', '.join(columns)}")
    return rows


def _join(root: str, path: str) -> str:
    return f"{root}/{path}" if root else path
