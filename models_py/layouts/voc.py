"""Pascal VOC, as NEU-DET uses it: one XML file of boxes for each image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from xml.etree import ElementTree

from models_py.layouts._registry import Layout, register
from models_py.layouts._samples import GOOD, Box, Label, Reject, Sample
from models_py.layouts._tree import Tree, stem

_SPLIT_LIST = re.compile(r"(?:.*/)?ImageSets/Main/(?P<split>train|val|test)\.txt$")
_HEAD = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?<annotation[\s>]")


@register
class PascalVOC(Layout):
    """Boxes from `<bndbox>`, scaled from the `<size>` they were drawn for to the image; no object means good."""

    name = "voc"
    title = "Pascal VOC (NEU-DET)"
    example = "IMAGES/crazing_1.jpg, ANNOTATIONS/crazing_1.xml, ImageSets/Main/train.txt"

    @classmethod
    def recognise(cls, tree: Tree) -> str | None:
        files = tree.having(".xml")
        paired = [path for path in files if tree.images_named(stem(path))]
        if not paired or not _HEAD.match(tree.text(paired[0])):
            return None
        return f"{len(files):,} XML files that begin with <annotation>, {len(paired):,} of them named like an image"

    @cached_property
    def _splits(self) -> dict[str, tuple[str, str]]:
        """The split of each image name and the list that says so."""
        found: dict[str, tuple[str, str]] = {}
        for path in self.tree.files:
            if match := _SPLIT_LIST.match(path):
                for line in self.tree.text(path).splitlines():
                    if fields := line.split():
                        found[fields[0]] = (match["split"], path)
        return found

    def samples(self) -> Iterator[Sample | Reject]:
        labelled: dict[str, str] = {}
        for path in self.tree.having(".xml"):
            images = self.tree.images_named(stem(path)) or self._images_inside(path)
            if not images:
                yield Reject(path, f"no image named {stem(path)} for this annotation")
            elif len(images) > 1:
                yield Reject(path, f"several images are named {stem(path)}: {', '.join(images)}")
            elif images[0] in labelled:
                yield Reject(path, f"{images[0]} has another annotation, {labelled[images[0]]}")
            else:
                labelled[images[0]] = path
        for image in self.tree.images:
            source = labelled.get(image)
            lists = self._splits.get(stem(image), ("", ""))[1:]
            yield Sample(image=image, sources=(source, *filter(None, lists)) if source else (), unit_id=stem(image))

    def _images_inside(self, path: str) -> list[str]:
        """Images of the name that the file gives in <filename>, for those not named alike."""
        match = re.search(r"<filename>\s*([^<]+?)\s*</filename>", self.tree.text(path))
        return self.tree.images_named(stem(match[1])) if match else []

    def labels(self, sample: Sample) -> Iterable[Label | Reject]:
        if not sample.sources:
            return ()
        split = self._splits.get(stem(sample.image), (None, ""))[0]
        return _parse(self.tree.text(sample.sources[0]), sample.sources[0], split)


def _parse(text: str, path: str, split: str | None) -> Iterator[Label | Reject]:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        yield Reject(path, "the XML declares a DOCTYPE or entities, which no annotation needs")
        return
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - without a DOCTYPE there is nothing to expand
    except ElementTree.ParseError as error:
        yield Reject(path, f"not XML: {error}")
        return
    frame = _frame(root)
    objects = root.findall("object")
    if not objects:
        yield Label("class", GOOD, split=split)
    for number, item in enumerate(objects, 1):
        name, box = (item.findtext("name") or "").strip(), _box(item)
        if not name or box is None:
            yield Reject(path, f"object {number}: needs a name and four numbers in bndbox, but has {_shown(item)}")
        else:
            yield Label("box", name, box, frame, split=split)


def _frame(root: ElementTree.Element) -> tuple[float, float] | None:
    try:
        width, height = (float(root.findtext(f"size/{side}") or 0) for side in ("width", "height"))
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None


def _box(item: ElementTree.Element) -> Box | None:
    try:
        x1, y1, x2, y2 = (float(item.findtext(f"bndbox/{side}") or "") for side in ("xmin", "ymin", "xmax", "ymax"))
    except ValueError:
        return None
    return x1, y1, x2, y2


def _shown(item: ElementTree.Element) -> str:
    return " ".join(f"{part.tag}={part.text!r}" for part in item.iter() if len(part) == 0)
