"""YOLO: a data.yaml with the class names, one text file of fractions for each image."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import yaml

from models_py.errors import LayoutError
from models_py.layouts._registry import Layout, register
from models_py.layouts._samples import GOOD, Label, Reject, Sample, finite, split_of
from models_py.layouts._tree import Tree, folder, parts

_IMAGES = re.compile(r"(^|/)images/(?!.*(^|/)images/)")
_NO_LABELS = {"classes.txt", "obj.names", "train.txt", "val.txt", "test.txt"}
_UNIT = (1.0, 1.0)


class _YoloConfig(NamedTuple):
    """One data.yaml: the names of its classes, and the folders and images of its splits."""

    path: str
    names: dict[int, str]
    splits: dict[str, str]
    lists: tuple[str, ...]
    has_keypoints: bool

    def split_of(self, image: str) -> str | None:
        """Look up the image in the lists, then its folders from the innermost outwards."""
        while image:
            if split := self.splits.get(image):
                return split
            image = folder(image)
        return None


@register
class YOLO(Layout):
    """Boxes `class cx cy w h` or polygons `class x y x y ...`, in fractions; keypoints as boxes. Empty means good."""

    name = "yolo"
    title = "YOLO"
    example = "data.yaml, images/train/0001.jpg, labels/train/0001.txt"

    @classmethod
    def recognise(cls, tree: Tree) -> str | None:
        configs = _configs(tree)
        labelled = sum(_twin(path) in tree.files for path in tree.images)
        if not configs or not labelled:
            return None
        return f"{configs[0]} and {labelled:,} images with a text file in the twin folder labels"

    @cached_property
    def _known(self) -> dict[str, _YoloConfig]:
        """Every data.yaml by its folder."""
        configs = {folder(path): _read(self.tree, path) for path in reversed(_configs(self.tree))}
        if not configs:
            raise LayoutError(f"{self.tree.root}: a YOLO data set needs a data.yaml with its class names.")
        return configs

    def _config(self, path: str) -> _YoloConfig:
        """The nearest data.yaml above a file, else the first of the tree."""
        while path:
            path = folder(path)
            if path in self._known:
                return self._known[path]
        return self._known[min(self._known)]

    def samples(self) -> Iterator[Sample | Reject]:
        used: set[str] = set()
        for path in self.tree.images:
            labels, config = _twin(path), self._config(path)
            used.add(labels)
            sources = (labels, config.path, *config.lists) if labels in self.tree.files else ()
            yield Sample(image=path, sources=sources)
        for path in self.tree.having(".txt"):
            if path not in used and "labels" in parts(folder(path)) and parts(path)[-1] not in _NO_LABELS:
                yield Reject(path, "no image in the twin folder images for this label file")

    def labels(self, sample: Sample) -> Iterable[Label | Reject]:
        if not sample.sources:
            return ()
        config = self._config(sample.image)
        split = split_of(sample.image) or config.split_of(sample.image)
        labels = list(_parse(self.tree.text(sample.sources[0]), sample.sources[0], config, split))
        return labels or [Label("class", GOOD, split=split)]


def _parse(text: str, path: str, config: _YoloConfig, split: str | None) -> Iterator[Label | Reject]:
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        try:
            kind, values = int(fields[0]), finite(fields[1:])
        except ValueError:
            yield Reject(path, f"line {number}: must be a class number and fractions, but got {line!r}")
            continue
        if kind not in config.names:
            known = ", ".join(f"{key} {name}" for key, name in config.names.items())
            yield Reject(path, f"line {number}: unknown class {kind}; {config.path} knows {known}")
        elif len(values) == 4 or (config.has_keypoints and len(values) > 4):
            x, y, w, h = values[:4]
            box = x - w / 2, y - h / 2, x + w / 2, y + h / 2
            yield Label("box", config.names[kind], box, _UNIT, split=split)
        elif len(values) >= 6 and len(values) % 2 == 0:
            yield Label("polygon", config.names[kind], frame=_UNIT, split=split, polygon=(values,))
        else:
            yield Reject(path, f"line {number}: must have 4 numbers or the points of a polygon, but got {line!r}")


def _read(tree: Tree, path: str) -> _YoloConfig:
    try:
        data: Any = yaml.safe_load(tree.text(path))
        found = data["names"]
        pairs = found.items() if isinstance(found, dict) else enumerate(found)
        names = {int(number): str(name) for number, name in pairs}
    except (yaml.YAMLError, KeyError, TypeError, ValueError, OSError) as error:
        raise LayoutError(f"{path}: must have 'names', a list of classes, but: {error}.") from error
    splits: dict[str, str] = {}
    lists: list[str] = []
    for split in ("test", "val", "train"):
        value = data.get(split) or ()
        for place in map(str, [value] if isinstance(value, str) else value):
            for found in _places(path, str(data.get("path") or ""), place):
                splits[found] = split
                if found in tree.files and found.endswith(".txt") and tree.stat(found):
                    lists.append(found)
                    lines = filter(None, map(str.strip, tree.text(found).splitlines()))
                    splits.update((image, split) for line in lines for image in _places(found, "", line))
    return _YoloConfig(path, names, splits, tuple(dict.fromkeys(lists)), has_keypoints="kpt_shape" in data)


def _places(file: str, base: str, place: str) -> Iterator[str]:
    """The paths in the tree that an entry of a data.yaml may mean: tools resolve `path` and `..` differently."""
    for start in dict.fromkeys((base, "")):
        path = posixpath.normpath(posixpath.join("/", folder(file), start, place)).lstrip("/")
        if path:
            yield path


def _configs(tree: Tree) -> list[str]:
    return [path for path in tree.files if path.rsplit("/", 1)[-1] in {"data.yaml", "data.yml", "dataset.yaml"}]


def _twin(image: str) -> str:
    """The label file that belongs to an image: the last folder `images` becomes `labels`."""
    return _IMAGES.sub(r"\1labels/", image).rsplit(".", 1)[0] + ".txt"
