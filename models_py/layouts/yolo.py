"""YOLO: a data.yaml with the class names, one text file of fractions for each image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import yaml

from models_py.errors import LayoutError
from models_py.layouts._registry import Layout, register
from models_py.layouts._samples import GOOD, Label, Reject, Sample
from models_py.layouts._tree import Tree, folder, parts

_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_IMAGES = re.compile(r"(^|/)images/(?!.*(^|/)images/)")
_UNIT = (1.0, 1.0)


@register
class YOLO(Layout):
    """Boxes `class cx cy w h` in fractions; of polygon rows the bounds are read. An empty file means good."""

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
    def _config(self) -> str:
        configs = _configs(self.tree)
        if not configs:
            raise LayoutError(f"{self.tree.root}: a YOLO data set needs a data.yaml with its class names.")
        return configs[0]

    @cached_property
    def _names(self) -> dict[int, str]:
        try:
            found: Any = yaml.safe_load(self.tree.text(self._config))["names"]
            pairs = found.items() if isinstance(found, dict) else enumerate(found)
            return {int(number): str(name) for number, name in pairs}
        except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise LayoutError(f"{self._config}: must have 'names', a list of classes, but: {error}.") from error

    def samples(self) -> Iterator[Sample | Reject]:
        used: set[str] = set()
        for path in self.tree.images:
            labels = _twin(path)
            used.add(labels)
            yield Sample(image=path, sources=(labels, self._config) if labels in self.tree.files else ())
        for path in self.tree.having(".txt"):
            if path not in used and "labels" in parts(folder(path)):
                yield Reject(path, "no image in the twin folder images for this label file")

    def labels(self, sample: Sample) -> Iterable[Label | Reject]:
        if not sample.sources:
            return ()
        split = next((_SPLITS[part] for part in parts(sample.image)[:-1] if part in _SPLITS), None)
        found = list(self._parse(sample.sources[0], split))
        return found or [Label("class", GOOD, split=split)]

    def _parse(self, path: str, split: str | None) -> Iterator[Label | Reject]:
        for number, line in enumerate(self.tree.text(path).splitlines(), 1):
            fields = line.split()
            if not fields:
                continue
            try:
                kind, values = int(fields[0]), list(map(float, fields[1:]))
            except ValueError:
                yield Reject(path, f"line {number}: must be a class number and fractions, but got {line!r}")
                continue
            if kind not in self._names:
                known = ", ".join(f"{key} {name}" for key, name in self._names.items())
                yield Reject(path, f"line {number}: unknown class {kind}; {self._config} knows {known}")
            elif len(values) == 4:
                x, y, w, h = values
                yield Label("box", self._names[kind], (x - w / 2, y - h / 2, x + w / 2, y + h / 2), _UNIT, split=split)
            elif len(values) >= 6 and len(values) % 2 == 0:
                xs, ys = values[0::2], values[1::2]
                yield Label("box", self._names[kind], (min(xs), min(ys), max(xs), max(ys)), _UNIT, split=split)
            else:
                yield Reject(path, f"line {number}: must have 4 numbers or the points of a polygon, but got {line!r}")


def _configs(tree: Tree) -> list[str]:
    return [path for path in tree.files if path.rsplit("/", 1)[-1] in {"data.yaml", "data.yml", "dataset.yaml"}]


def _twin(image: str) -> str:
    """The label file that belongs to an image: the last folder `images` becomes `labels`."""
    return _IMAGES.sub(r"\1labels/", image).rsplit(".", 1)[0] + ".txt"
