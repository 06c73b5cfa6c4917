"""Count the images that this process has scored, for a progress bar."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

ENVIRONMENT_VARIABLE = "DUCKSPECT_COUNTER"
"""The environment variable with a file for the count, if another process shows it."""
_WRITE_EVERY = 1.0


class ImageCounter:
    """Counts images from any thread."""

    def __init__(self, file: str | None = None) -> None:
        self._lock = threading.Lock()
        self._file = Path(file) if file else None
        self._next = 0.0
        self.images = 0

    def add(self, images: int) -> None:
        with self._lock:
            self.images += images
            if self._file is not None and time.monotonic() >= self._next:
                self._next = time.monotonic() + _WRITE_EVERY
                self._file.write_text(str(self.images))


def read_count(file: Path) -> int:
    """What another process has counted so far; 0 before it has begun."""
    try:
        return int(file.read_text() or 0)
    except FileNotFoundError:
        return 0


COUNTER = ImageCounter(os.environ.get(ENVIRONMENT_VARIABLE))
