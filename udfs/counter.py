"""How many images this process has answered: what a progress bar shows."""

from __future__ import annotations

import threading


class Counter:
    """Counts images from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.images = 0

    def add(self, images: int) -> None:
        with self._lock:
            self.images += images


COUNTER = Counter()
