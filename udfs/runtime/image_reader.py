"""The images of one call: found, read, hashed, decoded, each once, by a pool of threads that all calls share."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
    """An image as SQL gave it, with the reference image beside which it is to be judged, if there is one."""

    uri: str | None
    data: memoryview | None
    reference: ImageSource | None = None
    product: str | None = None
    """The product that it shows, if the caller says so: it has a golden board."""

    @property
    def key(self) -> Hashable:
        """What tells sources of one call apart without reading them."""
        own = self.uri if self.uri is not None else id(self.data)
        return own if self.reference is None else (own, self.reference.key)

    @property
    def alone(self) -> ImageSource:
        """The image without its reference."""
        return self if self.reference is None else replace(self, reference=None)


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """The bytes of an image, and of its reference if it has one; the digest is of both."""

    data: bytes
    sha256: bytes
    reference: bytes | None = None
    reference_sha256: bytes = b""

    @property
    def digest(self) -> bytes:
        return _digest(self.sha256, self.reference_sha256)


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An image with its hash, and the pixels of its reference if it has one."""

    sha256: bytes
    facts: ImageFacts
    pixels: torch.Tensor
    reference: torch.Tensor | None = None


class ImageReader:
    """Opens sources within the allowed roots; remembers hashes of files that have not changed."""

    def __init__(self, roots: AllowedRoots) -> None:
        self.roots = roots
        self._budget = MemoryBudget(_DECODED_BYTES)
        self._hashes: ByteCache[bytes] = ByteCache(_HASHES_KEPT)

    def known_digest(self, source: ImageSource) -> bytes | None:
        """The digest of files that were read before and have not changed since."""
        own = self._known_hash(source)
        if own is None or source.reference is None:
            return own
        with _of_reference(source.reference):
            other = self._known_hash(source.reference)
        return None if other is None else _digest(own, other)

    def _known_hash(self, source: ImageSource) -> bytes | None:
        if source.uri is None:
            return None
        identity = self.roots.open(source.uri).identity
        return None if identity is None else self._hashes.get(identity)

    def read(self, source: ImageSource) -> ImageFiles:
        """The bytes of an image and of its reference; an error about the reference says so."""
        data, sha256 = self._read(source)
        if source.reference is None:
            return ImageFiles(data, sha256)
        with _of_reference(source.reference):
            return ImageFiles(data, sha256, *self._read(source.reference))

    def _read(self, source: ImageSource) -> tuple[bytes, bytes]:
        if source.uri is None:
            data = bytes(source.data or b"")
            return data, hashlib.sha256(data).digest()
        file = self.roots.open(source.uri)
        data = open_bytes(file.uri, lambda uri: self.roots.open(uri).uri, _LIMITS)
        digest = hashlib.sha256(data).digest()
        if file.identity:
            self._hashes.put(file.identity, digest, _HASH_SIZE)
        return data, digest

    def decoded(self, files: ImageFiles, use: Callable[[DecodedImage], T]) -> T:
        """Decode and use an image while there is room for its pixels; what is returned must be small."""
        facts = _probed(files.data)
        pixels = facts.width * facts.height
        if files.reference is not None:
            with _of_reference():
                other = _probed(files.reference)
            pixels += other.width * other.height
        with self._budget.lend(pixels * _BYTES_A_PIXEL):
            image = decode(files.data, _LIMITS)
            if files.reference is None:
                return use(DecodedImage(files.sha256, facts, image))
            with _of_reference():
                reference = decode(files.reference, _LIMITS)
            return use(DecodedImage(files.sha256, facts, image, reference))


def _digest(own: bytes, other: bytes) -> bytes:
    return hashlib.sha256(own + other).digest() if other else own


def _probed(data: bytes) -> ImageFacts:
    facts = probe(data, _LIMITS)
    if min(facts.width, facts.height) < _SMALLEST:
        raise ImageError(
            f"{facts.format}: {facts.width} x {facts.height} pixels are too few, "
            f"an image needs {_SMALLEST} x {_SMALLEST}"
        )
    return facts


@contextmanager
def _of_reference(source: ImageSource | None = None) -> Iterator[None]:
    """Say of an error that the reference image is at fault."""
    try:
        yield
    except ImageError as error:
        name = f" {source.uri}" if source is not None and source.uri and source.uri not in str(error) else ""
        raise ImageError(f"its reference image{name}: {error}") from error


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
