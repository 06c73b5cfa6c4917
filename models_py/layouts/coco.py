"""COCO: one JSON file with images, annotations and categories."""

from __future__ import annotations

import io
import json
import posixpath
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

from models_py.errors import LayoutError
from models_py.layouts._registry import Layout, register
from models_py.layouts._samples import GOOD, SPLITS, Label, Reject, Sample, finite
from models_py.layouts._tree import Tree, folder, parts, stem

_SPLIT = re.compile(r"(?:^|[_/.-])(train|validation|valid|val|test)\d*(?:[_/.-]|$)")
_SECTIONS = ("images", "annotations", "categories")
_MOST_PIXELS = 1 << 28
"""The largest mask that is drawn: it is held in memory, so a larger one is a mistake or an attack."""

Item = dict[str, Any]


class _CocoImage(NamedTuple):
    """One image of the JSON. A bad annotation is kept as a reject, so that the image does not count as good."""

    image: str
    frame: tuple[float, float] | None
    split: str | None
    annotations: list[Item | Reject]


class _CocoFile(NamedTuple):
    """One JSON file: its images by path, the names of its categories, and rejects for what cannot be used."""

    path: str
    entries: dict[str, _CocoImage]
    names: dict[int | str, str]
    rejects: list[Reject]


@register
class COCO(Layout):
    """Polygons; boxes where there is none, with a mask where run lengths are given. No annotation means good."""

    name = "coco"
    title = "COCO"
    example = "annotations/instances_train.json, train/0001.jpg"

    @classmethod
    def recognise(cls, tree: Tree) -> str | None:
        if not tree.images:
            return None
        largest = sorted(tree.having(".json"), key=lambda path: -tree.files[path].size)[:3]
        for path in filter(tree.stat, largest):
            text = tree.text(path)
            if all(f'"{section}"' in text for section in _SECTIONS):
                return f"{path} has images, annotations and categories"
        return None

    @cached_property
    def _read(self) -> tuple[list[_CocoFile], list[Reject]]:
        """Every JSON file that is COCO, and rejects for those that are not JSON."""
        documents: list[_CocoFile] = []
        broken: list[Reject] = []
        for path in self.tree.having(".json"):
            try:
                if found := _read(self.tree, path):
                    documents.append(found)
            except (ValueError, OSError, RecursionError) as error:
                broken.append(Reject(path, f"not JSON: {error}"))
        if broken and not documents:
            raise LayoutError(f"{broken[0].path} is {broken[0].reason}.")
        return documents, broken

    @cached_property
    def _by_image(self) -> dict[str, tuple[_CocoFile, _CocoImage]]:
        found: dict[str, tuple[_CocoFile, _CocoImage]] = {}
        for document in self._read[0]:
            for image, entry in document.entries.items():
                found.setdefault(image, (document, entry))
        return found

    def samples(self) -> Iterator[Sample | Reject]:
        documents, broken = self._read
        yield from broken
        for document in documents:
            yield from document.rejects
            yield from self._labelled_twice(document)
        for image in self.tree.images:
            found = self._by_image.get(image)
            yield Sample(image=image, sources=(found[0].path,) if found else ())

    def _labelled_twice(self, document: _CocoFile) -> Iterator[Reject]:
        """Reject the images that an earlier file labels already; COCO's own files for keypoints repeat all images."""
        others = [(image, self._by_image[image][0].path) for image in document.entries]
        twice = [(image, path) for image, path in others if path != document.path]
        if twice:
            image, path = twice[0]
            yield Reject(document.path, f"{len(twice):,} images are labelled in {path} already, the first is {image}")

    def labels(self, sample: Sample) -> Iterable[Label | Reject]:
        found = self._by_image.get(sample.image)
        if found is None:
            return ()
        document, entry = found
        labels = [label for item in entry.annotations for label in _labels(item, document, entry)]
        return labels or [Label("class", GOOD, split=entry.split)]


def _read(tree: Tree, path: str) -> _CocoFile | None:
    data = json.loads(tree.text(path))
    if not isinstance(data, dict) or not set(_SECTIONS) <= data.keys():
        return None
    document = _CocoFile(path, {}, {}, [])
    for section in _SECTIONS:
        if not isinstance(data[section], list):
            document.rejects.append(Reject(path, f"{section} must be a list, but is {data[section]!r:.80}"))
            return document
    _read_categories(data["categories"], document)
    by_id = _read_images(tree, data["images"], document)
    _read_annotations(data["annotations"], by_id, document)
    return document


def _read_categories(items: list[Any], document: _CocoFile) -> None:
    for number, item in enumerate(items, 1):
        if not _has(item, "id", "name"):
            document.rejects.append(
                Reject(document.path, f"category {number} of the list needs id and name: {item!r:.80}")
            )
        elif item["id"] in document.names:
            document.rejects.append(Reject(document.path, f"category {item['id']}: its id is listed twice"))
        else:
            document.names[item["id"]] = str(item["name"])


def _read_images(tree: Tree, items: list[Any], document: _CocoFile) -> dict[int | str, _CocoImage | None]:
    """Fill the document's entries; return them by id, with None for images that cannot be used."""
    by_id: dict[int | str, _CocoImage | None] = {}
    match = _SPLIT.search(stem(document.path).lower())
    split = SPLITS[match[1]] if match else _split_of(document.path)
    for number, item in enumerate(items, 1):
        if not _has(item, "id", "file_name"):
            document.rejects.append(
                Reject(document.path, f"image {number} of the list needs id and file_name: {item!r:.80}")
            )
            continue
        image, key = _find(tree, document.path, str(item["file_name"]), split), item["id"]
        if isinstance(image, Reject):
            document.rejects.append(Reject(document.path, f"image {key}: {image.reason}"))
            by_id.setdefault(key, None)
        elif key in by_id or image in document.entries:
            document.rejects.append(Reject(document.path, f"image {key}: its id or file {image!r} is listed twice"))
        else:
            by_id[key] = document.entries[image] = _CocoImage(image, _frame(item), split or _split_of(image), [])
    return by_id


def _read_annotations(items: list[Any], by_id: dict[int | str, _CocoImage | None], document: _CocoFile) -> None:
    seen: set[int | str] = set()
    for number, item in enumerate(items, 1):
        if not _has(item, "image_id"):
            reason = f"annotation {number} of the list needs an image_id: {item!r:.80}"
            document.rejects.append(Reject(document.path, reason))
        elif item["image_id"] not in by_id:
            reason = f"annotation {item.get('id')}: there is no image with id {item['image_id']}"
            document.rejects.append(Reject(document.path, reason))
        elif (entry := by_id[item["image_id"]]) is not None:
            is_new = not _has(item, "id") or item["id"] not in seen
            twice = Reject(document.path, f"annotation {item.get('id')}: its id is listed twice")
            entry.annotations.append(item if is_new else twice)
        if _has(item, "id"):
            seen.add(item["id"])


def _has(item: Any, *keys: str) -> bool:
    """Whether an item has numbers or text under these keys."""
    return isinstance(item, dict) and all(isinstance(item.get(key), int | str) for key in keys)


def _frame(item: Item) -> tuple[float, float] | None:
    try:
        width, height = finite((item["width"], item["height"]))
    except (KeyError, ValueError):
        return None
    return (width, height) if width > 0 and height > 0 else None


def _split_of(path: str) -> str | None:
    """The split that a folder names, with or without a year (`train2017`)."""
    return next((SPLITS[name] for part in parts(path)[:-1] if (name := part.rstrip("0123456789")) in SPLITS), None)


def _find(tree: Tree, document: str, name: str, split: str | None) -> str | Reject:
    """Find an image beside the JSON, in a neighbouring folder, or by name alone; of several the one in its split."""
    name = posixpath.normpath(name.replace("\\", "/")).lstrip("/")
    for base in (folder(document), folder(folder(document)), ""):
        if (path := posixpath.normpath(posixpath.join(base, name))) in tree.files:
            return path
    candidates = [path for path in tree.images_named(stem(name)) if path.endswith(f"/{name}")]
    if len(candidates) > 1 and split:
        candidates = [path for path in candidates if _split_of(path) == split] or candidates
    if len(candidates) == 1:
        return candidates[0]
    several = f"several files are named {name!r}: {', '.join(candidates[:3])}"
    return Reject(document, several if candidates else f"there is no file {name!r}")


def _labels(item: Item | Reject, document: _CocoFile, entry: _CocoImage) -> Iterator[Label | Reject]:
    if isinstance(item, Reject):
        yield item
        return
    number, shape = item.get("id"), item.get("segmentation")
    name = document.names.get(item["category_id"]) if _has(item, "category_id") else None
    if name is None:
        known = ", ".join(f"{key} {label}" for key, label in document.names.items())
        yield Reject(document.path, f"annotation {number}: unknown category {item.get('category_id')}; known: {known}")
        return
    try:
        if isinstance(shape, list) and shape:
            yield Label("polygon", name, frame=entry.frame, split=entry.split, polygon=_rings(shape))
            return
        if not item.get("iscrowd"):
            x, y, width, height = finite(item["bbox"])
            yield Label("box", name, (x, y, x + width, y + height), entry.frame, split=entry.split)
        elif not shape:
            raise ValueError("a crowd needs a segmentation")
        if shape:
            yield Label("mask", name, mask_png=_draw(shape, entry.frame), split=entry.split)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        yield Reject(document.path, f"annotation {number}: bbox or segmentation cannot be read: {error!r}")


def _rings(shape: list[Any]) -> tuple[tuple[float, ...], ...]:
    rings = tuple(finite(ring) for ring in shape)
    for ring in rings:
        if len(ring) < 6 or len(ring) % 2:
            raise ValueError(f"a polygon needs at least 3 points of 2 numbers, but has {len(ring)} numbers")
    return rings


def _draw(shape: Any, frame: tuple[float, float] | None) -> bytes:
    """Draw COCO's run lengths, which go column by column, as a PNG of 0 and 255."""
    from PIL import Image

    if frame is None:
        raise ValueError("the image has no width and height, so its mask has no size")
    width, height = int(frame[0]), int(frame[1])
    if width * height > _MOST_PIXELS:
        raise ValueError(f"a mask of {width} x {height} pixels is too large")
    if list(shape["size"]) != [height, width]:
        raise ValueError(f"run lengths are for {shape['size']}, but the image is [{height}, {width}] high and wide")
    counts = shape["counts"] if isinstance(shape["counts"], list) else _uncompressed(shape["counts"])
    if min(counts, default=0) < 0 or sum(counts) != width * height:
        raise ValueError(f"run lengths cover {sum(counts)} pixels, but the image has {width * height}")
    pixels = b"".join((b"\xff" if index % 2 else b"\0") * count for index, count in enumerate(counts))
    mask = Image.frombytes("L", (height, width), pixels).transpose(Image.Transpose.TRANSPOSE)
    buffer = io.BytesIO()
    mask.save(buffer, "png")
    return buffer.getvalue()


def _uncompressed(text: str) -> list[int]:
    """Read COCO's compressed run lengths: 5 bits a character; from the fourth run on, the difference to two before."""
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
