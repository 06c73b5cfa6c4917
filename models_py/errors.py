"""Errors whose text is a whole sentence with its remedy: a SQL user sees nothing else."""

from __future__ import annotations

from pathlib import Path


class DuckspectError(Exception):
    """Base of all errors that a user can cause and correct."""


class WarehouseError(DuckspectError):
    """The warehouse file is missing, locked, or of another version."""


class FullDiskError(DuckspectError):
    """The disk is full, or a quota or file-size limit was reached."""

    def __init__(self, folder: Path | None, reason: str) -> None:
        where = f"The disk of {folder}" if folder else "A disk"
        super().__init__(
            f"{where} is full ({reason}). Make room and run the command again; what was stored before is as it was."
        )


class BusyWarehouseError(WarehouseError):
    """Another process writes the warehouse."""

    def __init__(self, file: Path, holder: str = "") -> None:
        super().__init__(
            f"{file} is in use by another process{holder}, and DuckDB allows one writer at a time. Wait for it, or "
            f"stop it, and try again. To read meanwhile: the published copy, or `duckspect serve` with Quack."
        )
        self.file = file
        self.holder = holder
        """The other process, as ` (process 123)`, if DuckDB names it."""


class LayoutError(DuckspectError):
    """A folder, archive or manifest could not be understood."""


class ImageError(DuckspectError):
    """One image could not be used; the text is its reason in `raw.rejected_files`."""


class IncompleteImageError(ImageError):
    """The file ends too early: a broken copy, or one that is still being written."""


class RegistryError(DuckspectError):
    """A model, version or alias does not exist, or an artifact is missing or not what was registered."""
