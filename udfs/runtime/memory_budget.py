"""How many bytes of pixels may be decoded at once, whatever the number of threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class MemoryBudget:
    """Bytes that are lent and given back; one image larger than all of them gets all."""

    def __init__(self, room: int) -> None:
        self._room = self._free = room
        self._changed = threading.Condition()

    @contextmanager
    def lend(self, size: int) -> Iterator[None]:
        wanted = min(size, self._room)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()
