"""Magnetic tile surface defects: a folder for each class, a PNG mask beside each JPEG image."""

from __future__ import annotations

import re
from collections.abc import Iterator

from models_py.layouts._registry import Layout, register
from models_py.layouts._samples import Label, Reject, Sample, canonical
from models_py.layouts._tree import Tree

_IMAGE = re.compile(r"(?:.*/)?MT_(?P<class>[^/]+)/Imgs/(?P<name>[^/]+)\.jpg$", re.IGNORECASE)
_MASK = re.compile(r"(?:.*/)?MT_[^/]+/Imgs/[^/]+\.png$", re.IGNORECASE)


@register
class MagneticTile(Layout):
    """Class labels from the `MT_` folders, `MT_Free` being good; masks are kept for good tiles too."""

    name = "magnetic_tile"
    title = "Magnetic tile defects"
    example = "MT_Crack/Imgs/exp1_num_265.jpg, MT_Crack/Imgs/exp1_num_265.png, MT_Free/Imgs/..."

    @classmethod
    def recognise(cls, tree: Tree) -> str | None:
        classes = [match["class"] for path in tree.images if (match := _IMAGE.match(path))]
        if not classes:
            return None
        named = ", ".join(f"MT_{name}" for name in sorted(set(classes)))
        return f"{len(classes):,} images in Imgs folders of {named}"

    def samples(self) -> Iterator[Sample | Reject]:
        masks = {path[:-4]: path for path in self.tree.images if _MASK.match(path)}
        for path in self.tree.images:
            if not (match := _IMAGE.match(path)):
                continue
            label = canonical(match["class"].lower())
            mask = masks.pop(path[:-4], None)
            labels = [Label("class", label)]
            if mask is None:
                yield Reject(path, "no mask of the same name, ending in .png, beside this image")
            else:
                labels.append(Label("mask", label, mask=mask))
            yield Sample(image=path, sources=(mask,) if mask else (), labels=tuple(labels), unit_id=match["name"])
        for path in masks.values():
            yield Reject(path, "no image of the same name, ending in .jpg, beside this mask")
