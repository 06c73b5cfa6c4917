"""A cache that holds so many bytes, and forgets what was not asked for longest."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class ByteCache(Generic[T]):
    """Keys to values with their sizes, from any thread."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._used = 0
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()

    @property
    def used(self) -> int:
        """How many bytes it holds."""
        return self._used

    def get(self, key: Hashable) -> T | None:
        with self._lock:
            found = self._entries.get(key)
            if found is None:
                return None
            self._entries.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, value: T, size: int) -> None:
        with self._lock:
            old = self._entries.pop(key, None)
            self._used -= old[1] if old else 0
            if size > self._room:
                return
            self._entries[key] = (value, size)
            self._used += size
            while self._used > self._room:
                _, (_, freed) = self._entries.popitem(last=False)
                self._used -= freed

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._entries
