"""COCO: one JSON file with images, annotations and categories."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

from models_py.errors import LayoutError
from models_py.layouts._registry import Layout, register
from models_py.layouts._samples import GOOD, Label, Reject, Sample
from models_py.layouts._tree import Tree, folder, stem

_SPLIT = re.compile(r"(?:^|[_/.-])(train|val|test)(?:\d*)(?:[_/.-]|$)")
_SECTIONS = ('"images"', '"annotations"', '"categories"')


class _Entry(NamedTuple):
    """What the JSON says of one image."""

    image: str
    frame: tuple[float, float] | None
    split: str | None
    annotations: list[dict[str, Any]]


class _Document(NamedTuple):
    """One JSON file, read once: its images by path, the names of its categories, and what is wrong with it."""

    path: str
    entries: dict[str, _Entry]
    names: dict[int, str]
    rejects: list[Reject]


@register
class COCO(Layout):
    """Boxes, and masks drawn from polygons and run lengths; a crowd is a mask only. No annotation means good."""

    name = "coco"
    title = "COCO"
    example = "annotations/instances_train.json, train/0001.jpg"

    @classmethod
    def recognise(cls, tree: Tree) -> str | None:
        if not tree.images:
            return None
        for path in tree.having(".json"):
            text = tree.text(path)
            if all(section in text for section in _SECTIONS):
                return f"{path} has images, annotations and categories"
        return None

    @cached_property
    def _documents(self) -> list[_Document]:
        return [found for path in self.tree.having(".json") if (found := _read(self.tree, path))]

    @cached_property
    def _by_image(self) -> dict[str, tuple[_Document, _Entry]]:
        return {image: (doc, entry) for doc in self._documents for image, entry in doc.entries.items()}

    def samples(self) -> Iterator[Sample | Reject]:
        for document in self._documents:
            yield from document.rejects
        for image in self.tree.images:
            found = self._by_image.get(image)
            yield Sample(image=image, sources=(found[0].path,) if found else ())

    def labels(self, sample: Sample) -> Iterable[Label | Reject]:
        found = self._by_image.get(sample.image)
        if found is None:
            return ()
        document, entry = found
        labels = [label for item in entry.annotations for label in _labels(item, document, entry)]
        return labels or [Label("class", GOOD, split=entry.split)]


def _read(tree: Tree, path: str) -> _Document | None:
    try:
        data = json.loads(tree.text(path))
    except ValueError as error:
        raise LayoutError(f"{path} is not JSON: {error}.") from error
    if not isinstance(data, dict) or not {"images", "annotations", "categories"} <= data.keys():
        return None
    document = _Document(path, {}, {item["id"]: str(item["name"]) for item in data["categories"]}, [])
    match = _SPLIT.search(stem(path).lower())
    by_id = {}
    for item in data["images"]:
        image = _find(tree, path, str(item.get("file_name", "")))
        if image is None:
            document.rejects.append(Reject(path, f"image {item.get('id')}: there is no file {item.get('file_name')!r}"))
        elif item["id"] in by_id or image in document.entries:
            document.rejects.append(Reject(path, f"image {item['id']}: its id or file {image!r} is listed twice"))
        else:
            frame = (float(item["width"]), float(item["height"])) if item.get("width") and item.get("height") else None
            by_id[item["id"]] = document.entries[image] = _Entry(image, frame, match[1] if match else None, [])
    known = {item["id"] for item in data["images"]}
    for item in data["annotations"]:
        if item.get("image_id") in by_id:
            by_id[item["image_id"]].annotations.append(item)
        elif item.get("image_id") not in known:
            reason = f"annotation {item.get('id')}: there is no image with id {item.get('image_id')}"
            document.rejects.append(Reject(path, reason))
    return document


def _find(tree: Tree, document: str, name: str) -> str | None:
    """Look for an image beside the JSON, in a folder next to it, or by its name alone."""
    name = name.lstrip("/")
    for base in (folder(document), folder(folder(document)), ""):
        if (path := f"{base}/{name}" if base else name) in tree.files:
            return path
    fitting = [path for path in tree.images_named(stem(name)) if path.endswith(f"/{name}")]
    return fitting[0] if len(fitting) == 1 else None


def _labels(item: dict[str, Any], document: _Document, entry: _Entry) -> Iterator[Label | Reject]:
    number = item.get("id")
    name = document.names.get(item.get("category_id", -1))
    if name is None:
        known = ", ".join(f"{key} {label}" for key, label in document.names.items())
        yield Reject(document.path, f"annotation {number}: unknown category {item.get('category_id')}; known: {known}")
        return
    try:
        if not item.get("iscrowd"):
            x, y, width, height = map(float, item["bbox"])
            yield Label("box", name, (x, y, x + width, y + height), entry.frame, split=entry.split)
        if item.get("segmentation") and entry.frame:
            png = _draw(item["segmentation"], (int(entry.frame[0]), int(entry.frame[1])))
            yield Label("mask", name, mask_png=png, split=entry.split)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        yield Reject(document.path, f"annotation {number}: bbox or segmentation cannot be read: {error!r}")


def _draw(shape: Any, size: tuple[int, int]) -> bytes:
    """Draw polygons, or run lengths of columns, as a PNG of 0 and 255."""
    from PIL import Image, ImageDraw

    if isinstance(shape, dict):
        height, width = shape["size"]
        counts = shape["counts"] if isinstance(shape["counts"], list) else _uncompressed(shape["counts"])
        if sum(counts) != width * height:
            raise ValueError(f"run lengths cover {sum(counts)} pixels, but the image has {width * height}")
        pixels = b"".join((b"\xff" if index % 2 else b"\0") * count for index, count in enumerate(counts))
        mask = Image.frombytes("L", (height, width), pixels).transpose(Image.Transpose.TRANSPOSE)
    else:
        mask = Image.new("L", size)
        for polygon in shape:
            if len(polygon) < 6:
                raise ValueError(f"a polygon needs 3 points, but has {len(polygon) / 2:g}")
            ImageDraw.Draw(mask).polygon([float(value) for value in polygon], fill=255)
    buffer = io.BytesIO()
    mask.save(buffer, "png")
    return buffer.getvalue()


def _uncompressed(text: str) -> list[int]:
    """Read COCO's compressed run lengths: 5 bits a character, the first three runs plain, then differences."""
    counts: list[int] = []
    value = shift = 0
    for character in text.encode():
        bits = character - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:  # the sign
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    return counts
