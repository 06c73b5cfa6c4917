"""Switch off the error messages that Pillow's copy of libtiff prints: they name no file, and Pillow raises them too."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path


@cache
def silence_libtiff() -> None:
    """Stop libtiff from printing errors; does nothing where Pillow uses the system's library."""
    import PIL

    package = Path(PIL.__file__).parent
    for folder in (package.parent / "pillow.libs", package / ".dylibs"):
        for library in folder.glob("libtiff*"):
            ctypes.CDLL(str(library)).TIFFSetErrorHandler(None)
