"""Images without labels: the layout for whatever no other one recognises."""

from __future__ import annotations

from collections.abc import Iterator

from models_py.layouts._registry import Layout, register
from models_py.layouts._samples import Sample
from models_py.layouts._tree import Tree


@register
class ImagesOnly(Layout):
    """Images in any folders, without labels: what a camera writes."""

    name = "images"
    title = "images without labels"
    example = "2026-10-01/unit-0001.jpg, 2026-10-01/unit-0002.jpg"

    @classmethod
    def recognise(cls, tree: Tree) -> str | None:
        return f"{len(tree.images):,} image files, and no labels in a layout known here" if tree.images else None

    def samples(self) -> Iterator[Sample]:
        for path in self.tree.images:
            yield Sample(image=path)
