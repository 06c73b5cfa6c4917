"""Store masks that a layout drew itself (from COCO's run lengths, say) as PNG files named by their hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from models_py.files.durable import make_folders, write_file
from models_py.warehouse.location import StoredUris


@dataclass(frozen=True, slots=True)
class MaskStore:
    """A folder of content-addressed masks beside the warehouse."""

    folder: Path
    uris: StoredUris = field(default_factory=StoredUris)

    def keep(self, png: bytes) -> str:
        """Store a mask once, atomically, and return its URI."""
        digest = hashlib.sha256(png).hexdigest()
        file = self.folder / digest[:2] / f"{digest}.png"
        if not file.exists():
            make_folders(file.parent)
            write_file(file, png)
        return self.uris.normal(str(file))
