"""Queries that are only counted: what `explain` runs instead of models."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models_py.registry import Version
    from udfs.runtime import ImageSource


@dataclass(slots=True)
class CallCount:
    """Images that a query would have scored, by model."""

    asked: dict[tuple[str, int], dict[Any, ImageSource]] = field(default_factory=dict)
    versions: dict[tuple[str, int], Version] = field(default_factory=dict)
    cached: dict[tuple[str, int], set[Any]] = field(default_factory=dict)

    def add(self, version: Version, sources: Sequence[ImageSource], known: Sequence[bool]) -> None:
        key = (version.name, version.version)
        self.versions[key] = version
        seen, cached = self.asked.setdefault(key, {}), self.cached.setdefault(key, set())
        for source, is_known in zip(sources, known, strict=True):
            name = source.uri if source.data is None else hash(source.data)
            seen[name] = source
            if is_known:
                cached.add(name)


class CallCounts:
    """The connections whose queries are only counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, CallCount] = {}

    def of(self, connection: int) -> CallCount | None:
        return self._open.get(connection)

    @contextmanager
    def counting(self, connection: int) -> Iterator[CallCount]:
        count = CallCount()
        with self._lock:
            self._open[connection] = count
        try:
            yield count
        finally:
            with self._lock:
                del self._open[connection]
