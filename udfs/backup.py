"""Back up a warehouse into a folder, in the state of one moment, and restore it from there.

It holds a copy of the database, the models' artifacts, and the files below the warehouse's folder that the database
names; `manifest.json` lists all of them with their hashes. The order makes it consistent without stopping anybody:
first the server's journal is moved into the database, then the database is copied (in one transaction if a server has
it open), then the files that it names, which are never changed and only added to. Left out are tokens, checkpoints, and
files outside the warehouse's folder: the database names those by their absolute path.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import duckdb

from models_py import __version__
from models_py.errors import WarehouseError
from models_py.files.durable import make_folders, put_in_place
from models_py.registry import list_versions
from models_py.warehouse.database import files_folder, warehouse_path
from models_py.warehouse.location import is_relative, stored_uris
from udfs.builds.build import copy_database
from udfs.serving.tokens import tokens_path
from udfs.session.session import Session, connect
from udfs.verdicts.journal import journal_folder
from udfs.verdicts.journal_files import find_damaged

MANIFEST = "manifest.json"
_FORMAT = 1
_TOKENS = ".tokens.json"
_CHUNK = 1 << 20
_AT_ONCE = 8
_NAMED = 3
_NAMED_FILES = """
select uri from raw.files where role in ('image', 'template', 'label')
union select uri from raw.images
union select uri from raw.inspections
union select uri from raw.templates
union select uri from raw.golden_images
union select mask_uri from raw.annotations where mask_uri is not null
order by uri
"""

Progress = Callable[[int, int], None]
"""Called with files copied so far, and all."""


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A file of a backup: its path in the backup, size, hash and time."""

    path: str
    size: int
    sha256: str
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds, and how many files are not in it: outside the warehouse's folder, left out, or missing."""

    folder: Path
    warehouse: str
    files: int
    bytes: int
    outside: int = 0
    left_out: int = 0
    missing: int = 0


def _unheard(done: int, total: int) -> None:
    """The default for `progress`: do nothing."""


def backup(path: str | Path | None, target: Path, *, with_images: bool = True, progress: Progress = _unheard) -> Backup:
    """Write a backup of a warehouse into a new folder, completely or not at all.

    Without images, only files in duckspect's own folder (`warehouse_files`) are copied, not the user's images.
    """
    warehouse = warehouse_path(path)
    if not warehouse.exists():
        raise WarehouseError(
            f"There is no warehouse at {warehouse}. Make one with `duckspect init` or `duckspect demo`."
        )
    is_shared = Session.is_held_here(warehouse)
    with _new_folder(target, "backup") as folder, connect(warehouse) as con:
        copy_database(con, warehouse, folder / warehouse.name, is_shared=is_shared)
        uris = stored_uris(con)
        named = [uri for (uri,) in con.execute(_NAMED_FILES).fetchall()]
        below = {uri: Path(uris.full(uri)) for uri in named if is_relative(uri) and not uri.endswith(_TOKENS)}
        kept = below if with_images else {uri: file for uri, file in below.items() if _is_own(file, warehouse)}
        there = {uri: file for uri, file in kept.items() if _is_file(file)}
        wanted = {**dict(_own_files(con, warehouse)), **there}
        saved = [_described(folder, warehouse.name), *_copied(wanted, folder, progress)]
        facts = {"format": _FORMAT, "warehouse": warehouse.name, "folder": uris.folder, "made_by": __version__}
        facts |= {"made_at": datetime.now(UTC).isoformat(timespec="seconds"), "files": list(map(asdict, saved))}
        (folder / MANIFEST).write_text(json.dumps(facts, indent=1))
        missing, left_out = len(kept) - len(there), len(below) - len(kept)
        outside = sum(not is_relative(uri) and not uri.startswith("urn:") for uri in named)
        size = sum(file.size for file in saved)
        return Backup(target, warehouse.name, len(saved), size, outside, left_out, missing)


def restore(source: Path, target: Path, *, progress: Progress = _unheard) -> Backup:
    """Restore a backup into a new folder, comparing every file with its hash, completely or not at all."""
    facts, files = _read_manifest(source)
    with _new_folder(target, "restore") as folder:
        wanted = {file.path: source / file.path for file in files}
        if lost := [name for name, file in wanted.items() if not _is_file(file)]:
            raise WarehouseError(_refusal(source, lost, "are missing"))
        found = {file.path: file for file in _copied(wanted, folder, progress)}
        if changed := [file.path for file in files if found[file.path].sha256 != file.sha256]:
            raise WarehouseError(_refusal(source, changed, "are not what was saved"))
        for file in files:
            os.utime(folder / file.path, ns=(file.modified_ns, file.modified_ns))
    return Backup(target, facts["warehouse"], len(files), sum(file.size for file in files))


def _refusal(source: Path, names: Sequence[str], what: str) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return (
        f"{source}: {len(names):,} of its files {what}: {', '.join(names[:_NAMED])}{more}. Nothing was restored. "
        f"Take another backup."
    )


@contextmanager
def _new_folder(target: Path, what: str) -> Iterator[Path]:
    """Yield a temporary folder to fill; at the end it is renamed, and after an error it is removed."""
    target = target.absolute()
    if os.path.lexists(target) and (not target.is_dir() or any(target.iterdir())):
        raise WarehouseError(f"{what}: {target} exists already and is never overwritten. Name a new folder.")
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        make_folders(target.parent)
        shutil.rmtree(partial, ignore_errors=True)  # left by a killed process that had our process id
        partial.mkdir()
        yield partial
        put_in_place(partial, target)
    except (OSError, duckdb.Error, subprocess.CalledProcessError) as error:
        raise WarehouseError(f"{what}: {target} cannot be written, so there is none: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_file(file: Path) -> bool:
    try:
        return stat.S_ISREG(file.stat().st_mode)
    except OSError:
        return False


def _is_own(file: Path, warehouse: Path) -> bool:
    return file.is_relative_to(os.path.realpath(files_folder(warehouse)))


def _own_files(con: duckdb.DuckDBPyConnection, warehouse: Path) -> Iterator[tuple[str, Path]]:
    """Artifacts of all versions with their compiled forms, and the damaged lines of the server's journal."""
    files = files_folder(warehouse)
    found = [file for version in list_versions(con) for file in sorted(version.folder.rglob("*"))]
    found += [version.compiled_file for version in list_versions(con)]
    tokens = os.path.realpath(tokens_path(None, warehouse))
    for file in [*found, *find_damaged(journal_folder(warehouse))]:
        if _is_file(file) and os.path.realpath(file) != tokens and not file.name.endswith(_TOKENS):
            yield (Path(files.name) / file.relative_to(files)).as_posix(), file


def _copied(files: dict[str, Path], folder: Path, progress: Progress) -> list[SavedFile]:
    """Copy files to their paths below a folder, several at once."""
    found = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for file in pool.map(lambda item: _copy(item[1], folder, item[0]), files.items()):
                found.append(file)
                progress(len(found), len(files))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return found


def _copy(source: Path, folder: Path, path: str) -> SavedFile:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as opened, target.open("xb") as written:
        modified = os.fstat(opened.fileno()).st_mtime_ns
        while data := opened.read(_CHUNK):
            digest.update(data)
            written.write(data)
            size += len(data)
    os.utime(target, ns=(modified, modified))
    return SavedFile(path, size, digest.hexdigest(), modified)


def _described(folder: Path, name: str) -> SavedFile:
    with (folder / name).open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
        found = os.fstat(opened.fileno())
    return SavedFile(name, found.st_size, digest, found.st_mtime_ns)


def _read_manifest(source: Path) -> tuple[dict[str, Any], list[SavedFile]]:
    file = source / MANIFEST
    try:
        facts = json.loads(file.read_text())
        files = [SavedFile(**row) for row in facts["files"]]
        _check(files, facts["warehouse"])
    except FileNotFoundError:
        raise WarehouseError(f"{source}: is no backup, for it has no {MANIFEST}. Name the folder of one.") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise WarehouseError(f"{file}: is no list of a backup: {error}. Take another backup.") from error
    if facts.get("format") != _FORMAT:
        raise WarehouseError(
            f"{file}: has the format {facts.get('format')!r}, but this duckspect {__version__} knows {_FORMAT}. "
            f"Restore it with {facts.get('made_by')}."
        )
    return facts, files


def _check(files: Iterable[SavedFile], warehouse: str) -> None:
    """Refuse paths that would be written outside the new folder."""
    paths = [file.path for file in files]
    for path in paths:
        parts = PurePosixPath(path).parts
        if not parts or parts[0] == "/" or ".." in parts or "\0" in path:
            raise ValueError(f"{path!r} is no path below it")
    if warehouse not in paths:
        raise ValueError(f"it has no {warehouse}")
