"""SAP's light guide plates: images and masks in twin folders, defective (NG) and good (OK)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from models_py.layouts._registry import Layout, register
from models_py.layouts._samples import GOOD, Label, Reject, Sample
from models_py.layouts._tree import Tree

_IMAGE = re.compile(r"(?P<base>(?:.*/)?)(?P<kind>NG|OK)/(?P<name>[^/]+)_Image\.[^./]+$")
_MASK = re.compile(r"(?:.*/)?(?:NG|OK)_MSK/[^/]+_Mask\.[^./]+$")
_LABELS = {"NG": "defect", "OK": GOOD}


@register
class LightGuidePlates(Layout):
    """A class label and a mask for each plate; the mask of a good plate is empty."""

    name = "lgp"
    title = "SAP light guide plates"
    example = "Images/NG/00000_NG_Image.bmp, Images/NG_MSK/00000_NG_Mask.bmp, Images/OK/..., Images/OK_MSK/..."

    @classmethod
    def recognise(cls, tree: Tree) -> str | None:
        images = [match["kind"] for path in tree.images if (match := _IMAGE.match(path))]
        masks = sum(_MASK.match(path) is not None for path in tree.images)
        if not images or not masks:
            return None
        return f"{images.count('NG'):,} NG and {images.count('OK'):,} OK *_Image files with {masks:,} *_Mask files"

    def samples(self) -> Iterator[Sample | Reject]:
        masks = {path.rsplit(".", 1)[0]: path for path in self.tree.images if _MASK.match(path)}
        for path in self.tree.images:
            if not (match := _IMAGE.match(path)):
                continue
            mask = masks.pop(f"{match['base']}{match['kind']}_MSK/{match['name']}_Mask", None)
            label = _LABELS[match["kind"]]
            labels = [Label("class", label)]
            if mask is None:
                yield Reject(path, f"no mask {match['kind']}_MSK/{match['name']}_Mask for this image")
            else:
                labels.append(Label("mask", label, mask=mask))
            yield Sample(image=path, sources=(mask,) if mask else (), labels=tuple(labels), unit_id=match["name"])
        for path in masks.values():
            yield Reject(path, "no image for this mask")
