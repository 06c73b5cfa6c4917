"""Pillow's own copy of libtiff prints its errors without a file's name; Pillow raises them as well."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path


@cache
def silence_libtiff() -> None:
    """Have libtiff keep its errors to itself; nothing is done where Pillow uses the system's library."""
    import PIL

    package = Path(PIL.__file__).parent
    for folder in (package.parent / "pillow.libs", package / ".dylibs"):
        for library in folder.glob("libtiff*"):
            ctypes.CDLL(str(library)).TIFFSetErrorHandler(None)
