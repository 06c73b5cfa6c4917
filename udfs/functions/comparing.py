"""What `compare` says of an image and its reference image."""

from __future__ import annotations

from dataclasses import asdict
from typing import cast

from models_py.errors import DuckspectError, ImageError
from models_py.images.alignment import METHODS
from models_py.images.comparison import compare
from udfs.functions.types import ComparisonRow, DifferingRegionRow
from udfs.runtime.image_reader import DecodedImage
from udfs.runtime.references import NO_REFERENCE_KNOWN
from udfs.runtime.single_images import Look

_ROW_SIZE, _REGION_SIZE = 300, 400


def comparing(method: str) -> Look[ComparisonRow]:
    """Compare an image with its reference."""
    if method not in METHODS:
        raise DuckspectError(f"alignment: must be one of {', '.join(METHODS)}, but is {method!r}.")

    def look(found: DecodedImage) -> tuple[ComparisonRow, int]:
        if found.reference is None:
            raise ImageError(NO_REFERENCE_KNOWN)
        pair = [image.permute(1, 2, 0).contiguous().numpy() for image in (found.pixels, found.reference)]
        compared = compare(pair[0], pair[1], method)
        regions = [cast("DifferingRegionRow", asdict(region)) for region in compared.regions]
        x, y = compared.shift
        row: ComparisonRow = {"similarity": compared.similarity, "shift": {"x": x, "y": y}, "regions": regions}
        return row, _ROW_SIZE + _REGION_SIZE * len(regions)

    return look
