"""MVTec AD: defect-free training images, defects by folder, a mask for each defective image."""

from __future__ import annotations

import re
from collections.abc import Iterator

from models_py.layouts._registry import Layout, register
from models_py.layouts._samples import GOOD, Label, Reject, Sample, canonical
from models_py.layouts._tree import Tree, parts, stem

_IMAGE = re.compile(r"(?:(?:.*/)?(?P<category>[^/]+)/)?(?P<split>train|test)/(?P<defect>[^/]+)/[^/]+$")
_MASK = re.compile(r"(?:(?P<base>.*)/)?ground_truth/(?P<defect>[^/]+)/(?P<name>[^/]+)_mask\.[^./]+$")


@register
class MVTec(Layout):
    """Class labels from the folders, masks from `ground_truth`; several categories may stand side by side."""

    name = "mvtec"
    title = "MVTec AD"
    example = (
        "bottle/train/good/000.png, bottle/test/broken_large/000.png, bottle/ground_truth/broken_large/000_mask.png"
    )

    @classmethod
    def recognise(cls, tree: Tree) -> str | None:
        good = [
            _category(tree, m) for path in tree.images if (m := _IMAGE.match(path)) and "/train/good/" in f"/{path}"
        ]
        masks = sum(_MASK.match(path) is not None for path in tree.images)
        if not good or not masks:
            return None
        categories = ", ".join(sorted(set(good)))
        return f"{len(good):,} images in train/good and {masks:,} masks in ground_truth, for {categories}"

    def samples(self) -> Iterator[Sample | Reject]:
        masks = {
            (m["base"] or "", m["defect"], m["name"]): path for path in self.tree.images if (m := _MASK.match(path))
        }
        for path in self.tree.images:
            if _MASK.match(path) or not (match := _IMAGE.match(path)):
                continue
            base, defect = "/".join(parts(path)[:-3]), match["defect"]
            mask = masks.pop((base, defect, stem(path)), None)
            label, split = canonical(defect), match["split"]
            labels = [Label("class", label, split=split)]
            if mask is not None:
                labels.append(Label("mask", label, mask=mask, split=split))
            elif label != GOOD:
                yield Reject(path, f"no mask ground_truth/{defect}/{stem(path)}_mask.png for this defective image")
            sources = (mask,) if mask is not None else ()
            yield Sample(image=path, sources=sources, labels=tuple(labels), product_type=_category(self.tree, match))
        for path in masks.values():
            yield Reject(path, "no test image for this mask")
        for path in self.tree.images:
            if "ground_truth" in parts(path)[:-1] and not _MASK.match(path):
                yield Reject(path, "a mask must be named ground_truth/<defect>/<image>_mask")


def _category(tree: Tree, match: re.Match[str]) -> str:
    """The folder above train and test, which may be the loaded folder itself."""
    return match["category"] or tree.root.rsplit("/", 1)[-1]
