"""Pillow for files that `probe` has accepted, under no settings of the process but those that cannot be had otherwise.

`Image.open` applies `Image.MAX_IMAGE_PIXELS`, a setting of the whole process; `probe` has a limit of its own, which the
caller chooses. So the reader of the format is called directly; only WebP's asks for the setting all the same, and
refuses what is larger than twice of it. Warnings are not silenced: that, too, is the process' own affair, and
`warnings.catch_warnings` in several threads leaves the filters of one to the others.
"""

from __future__ import annotations

import io
from typing import Any

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from models_py.errors import ImageError
from models_py.images.libtiff import silence_libtiff


class _Tiff(TiffImagePlugin.TiffImageFile):
    """Without the look at the limit of the process that its `load_prepare` takes."""

    def load_prepare(self) -> None:
        if self._im is None:
            core: Any = Image.core  # type: ignore[attr-defined] # Pillow's readers use it
            self.im = core.new(self.mode, self._tile_size)
        super().load_prepare()


_READERS: dict[str, type[ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "tiff": _Tiff,
}


def open_image(data: bytes, format: str) -> ImageFile.ImageFile:  # noqa: A002 - as Pillow calls it
    """Open an image of a format that `probe` named; raises whatever Pillow does if it is damaged."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ImageError(
            f"{format}: Pillow fills damaged files up with grey in this process, so this one was not read. "
            "Set PIL.ImageFile.LOAD_TRUNCATED_IMAGES = False."
        )
    if format == "tiff":
        silence_libtiff()
    opened = _READERS[format](io.BytesIO(data))
    opened.load()
    opened.info.pop("transparency", None)  # it is dropped anyway, and Pillow would warn of it
    return opened
