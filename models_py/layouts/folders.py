"""One folder per class, with or without a folder per split above."""

from __future__ import annotations

import re
from collections.abc import Iterator

from models_py.layouts._registry import Layout, register
from models_py.layouts._samples import SPLITS, Label, Sample, canonical, split_of
from models_py.layouts._tree import Tree, parts

_DATE = re.compile(r"\d{4}([-_.]?)\d{2}\1\d{2}(\D.*)?$")
_NO_CLASSES = {"images", "image", "imgs", "img", "masks", "mask", "labels", "annotations", "ground_truth", "templates"}


@register
class FolderPerClass(Layout):
    """Class labels from the folder an image lies in; good, ok, normal and the like all mean good."""

    name = "folders"
    title = "folder per class"
    example = "scratch/0001.png, good/0002.png; or train/scratch/0001.png, test/good/0002.png"

    @classmethod
    def recognise(cls, tree: Tree) -> str | None:
        classes = {place[-1] for place in map(_place, tree.images) if place}
        depths = {len(parts(path)) for path in tree.images}
        has_splits = any(set(parts(path)[:-2]) & SPLITS.keys() for path in tree.images)
        if len(depths) != 1 or len(classes) < (1 if has_splits else 2) or classes <= SPLITS.keys():
            return None
        if classes & _NO_CLASSES or all(map(_DATE.match, classes)):
            return None
        return f"{len(tree.images):,} images in folders named {', '.join(sorted(classes))}"

    def samples(self) -> Iterator[Sample]:
        for path in self.tree.images:
            place = _place(path)
            split = split_of("/".join(place))
            yield Sample(image=path, labels=(Label("class", canonical(place[-1]), split=split),) if place else ())


def _place(path: str) -> tuple[str, ...]:
    return parts(path)[:-1]
