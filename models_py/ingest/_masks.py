"""Masks that a reader drew (from polygons, say) are kept as PNG files named by their content."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class MaskStore:
    """A folder of content-addressed masks beside the warehouse."""

    folder: Path

    def keep(self, png: bytes) -> str:
        """Store a mask once, atomically, and return its path."""
        digest = hashlib.sha256(png).hexdigest()
        file = self.folder / digest[:2] / f"{digest}.png"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(f".{os.getpid()}.{os.urandom(4).hex()}.tmp")
            partial.write_bytes(png)
            partial.replace(file)
        return str(file)
