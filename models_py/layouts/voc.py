"""Pascal VOC, as NEU-DET uses it: one XML file of boxes for each image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from xml.etree import ElementTree

from models_py.layouts._registry import Layout, register
from models_py.layouts._samples import GOOD, Box, Label, Reject, Sample, finite, split_of
from models_py.layouts._tree import Tree, folder, parts, stem

_SPLIT_LIST = re.compile(r"(?:.*/)?ImageSets/Main/(?P<split>train|val|trainval|test)\.txt$")
_SEGMENTATION = re.compile(r"(?:.*/)?Segmentation(?:Class|Object)/[^/]+$")
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
        looked_at = (paired or [path for path in files[:2] if _images_inside(tree, path)])[:2]
        if not any(_HEAD.match(tree.text(path)) for path in looked_at if tree.stat(path)):
            return None
        return f"{len(files):,} XML files that begin with <annotation>, {len(paired):,} of them named like an image"

    @cached_property
    def _splits(self) -> dict[str, tuple[str, str]]:
        """The split of each image name, with its list file; `trainval` counts only for names in no other list."""
        splits: dict[str, tuple[str, str]] = {}
        lists = [match for path in self.tree.files if (match := _SPLIT_LIST.match(path)) and self.tree.stat(path)]
        for match in sorted(lists, key=lambda match: match["split"] != "trainval"):
            split = match["split"].removesuffix("val") or "val"
            for line in self.tree.text(match[0]).splitlines():
                if fields := line.split():
                    splits[fields[0]] = (split, match[0])
        return splits

    def samples(self) -> Iterator[Sample | Reject]:
        labelled: dict[str, str] = {}
        for path in self.tree.having(".xml"):
            images = self._images_of(path)
            if not images:
                yield Reject(path, f"no image named {stem(path)} for this annotation")
            elif len(images) > 1:
                yield Reject(path, f"several images are named {stem(path)}: {', '.join(images)}")
            elif images[0] in labelled:
                yield Reject(path, f"{images[0]} has another annotation, {labelled[images[0]]}")
            else:
                labelled[images[0]] = path
        for image in self.tree.images:
            if _SEGMENTATION.match(image):
                yield Reject(image, "a picture of many classes at once, not a mask of one: only boxes are read")
                continue
            source = labelled.get(image)
            lists = self._splits.get(stem(image), ("", ""))[1:]
            yield Sample(image=image, sources=(source, *filter(None, lists)) if source else (), unit_id=stem(image))

    def _images_of(self, path: str) -> list[str]:
        """Images named like the annotation file, else as in its <filename>; of several those in the nearest folder."""
        named = self.tree.images_named(stem(path)) or _images_inside(self.tree, path)
        images = [image for image in named if not _SEGMENTATION.match(image)]
        shared = [_shared(parts(folder(path)), parts(folder(image))) for image in images]
        return [image for image, depth in zip(images, shared, strict=True) if depth == max(shared)]

    def labels(self, sample: Sample) -> Iterable[Label | Reject]:
        if not sample.sources:
            return ()
        split = self._splits.get(stem(sample.image), (split_of(sample.image), ""))[0]
        return _parse(self.tree.text(sample.sources[0]), sample.sources[0], split)


def _shared(some: tuple[str, ...], others: tuple[str, ...]) -> int:
    """How many folders two paths have in common, from the top."""
    return next((n for n, (one, other) in enumerate(zip(some, others, strict=False)) if one != other), len(some))


def _images_inside(tree: Tree, path: str) -> list[str]:
    """Images with the name in the annotation's <filename>, which may lack the suffix."""
    if tree.stat(path) is None or not (match := re.search(r"<filename>\s*([^<]+?)\s*</filename>", tree.text(path))):
        return []
    return tree.images_named(match[1]) or tree.images_named(stem(match[1]))


def _parse(text: str, path: str, split: str | None) -> Iterator[Label | Reject]:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        yield Reject(path, "the XML declares a DOCTYPE or entities, which no annotation needs")
        return
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - without a DOCTYPE there is nothing to expand
        frame = _frame(root)
    except (ElementTree.ParseError, ValueError) as error:
        yield Reject(path, f"not XML: {error}" if isinstance(error, ElementTree.ParseError) else str(error))
        return
    if root.tag != "annotation":
        yield Reject(path, f"must be an <annotation>, but is a <{root.tag}>")
        return
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
    """The image size that the boxes were drawn for; None where a tool left it out or wrote 0."""
    try:
        width, height = finite(root.findtext(f"size/{side}") or 0 for side in ("width", "height"))
    except ValueError as error:
        raise ValueError(f"size: {error}") from None
    return (width, height) if width > 0 and height > 0 else None


def _box(item: ElementTree.Element) -> Box | None:
    try:
        x1, y1, x2, y2 = finite(item.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
    except ValueError:
        return None
    return x1, y1, x2, y2


def _shown(item: ElementTree.Element) -> str:
    return " ".join(f"{part.tag}={part.text!r}" for part in item.iter() if len(part) == 0)
