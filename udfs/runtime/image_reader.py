"""The images of one call: found, read, hashed, decoded, each once, by a pool of threads that all calls share."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeVar

import torch

from models_py.errors import ImageError
from models_py.images import ImageLimits, probe
from models_py.images.decode import decode, open_bytes
from models_py.images.header import ImageFacts
from udfs.runtime.allowed_roots import AllowedRoots
from udfs.runtime.byte_cache import ByteCache
from udfs.runtime.devices import use_threads
from udfs.runtime.memory_budget import MemoryBudget
from udfs.threads import WorkerPool

T = TypeVar("T")

_DECODED_BYTES = 256 << 20
_BYTES_A_PIXEL = 6  # of most decoders; the worst, of progressive JPEGs in CMYK, takes twelve
_SMALLEST = 8
_LIMITS = ImageLimits()
_HASHES_KEPT = 16 << 20
_HASH_SIZE = 400


@cache
def pool() -> WorkerPool:
    """Threads that read and decode; the device computes meanwhile."""
    count = max(2, os.cpu_count() or 1)
    return WorkerPool("decode", count, partial(use_threads, 1))


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An image as SQL gave it."""

    uri: str | None
    data: memoryview | None

    @property
    def key(self) -> str | int:
        """What tells sources of one call apart without reading them."""
        return self.uri if self.uri is not None else id(self.data)


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An image with its hash."""

    sha256: bytes
    facts: ImageFacts
    pixels: torch.Tensor


class ImageReader:
    """Opens sources within the allowed roots; remembers hashes of files that have not changed."""

    def __init__(self, roots: AllowedRoots) -> None:
        self.roots = roots
        self._budget = MemoryBudget(_DECODED_BYTES)
        self._hashes: ByteCache[bytes] = ByteCache(_HASHES_KEPT)

    def known_hash(self, source: ImageSource) -> bytes | None:
        """The hash of a file that was read before and has not changed since."""
        if source.uri is None:
            return None
        identity = self.roots.open(source.uri).identity
        return None if identity is None else self._hashes.get(identity)

    def read(self, source: ImageSource) -> tuple[bytes, bytes]:
        """The bytes of an image and their hash."""
        if source.uri is None:
            data = bytes(source.data or b"")
            return data, hashlib.sha256(data).digest()
        file = self.roots.open(source.uri)
        data = open_bytes(file.uri, lambda uri: self.roots.open(uri).uri, _LIMITS)
        digest = hashlib.sha256(data).digest()
        if file.identity:
            self._hashes.put(file.identity, digest, _HASH_SIZE)
        return data, digest

    def decoded(self, data: bytes, digest: bytes, use: Callable[[DecodedImage], T]) -> T:
        """Decode and use an image while there is room for its pixels; what is returned must be small."""
        facts = probe(data, _LIMITS)
        if min(facts.width, facts.height) < _SMALLEST:
            raise ImageError(
                f"{facts.format}: {facts.width} x {facts.height} pixels are too few, "
                f"an image needs {_SMALLEST} x {_SMALLEST}"
            )
        with self._budget.lend(facts.width * facts.height * _BYTES_A_PIXEL):
            return use(DecodedImage(digest, facts, decode(data, _LIMITS)))


class ContentClaims:
    """Which contents a call has taken on already, so that each is decoded once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: set[bytes] = set()

    def take(self, digest: bytes) -> bool:
        with self._lock:
            is_new = digest not in self._taken
            self._taken.add(digest)
            return is_new
