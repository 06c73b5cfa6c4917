"""The warehouse file: where it is, how it is opened, and how its schema is brought up to date.

The schema is numbered SQL files in `sql/schema`, each applied once and recorded in `schema_migrations`. All that a
warehouse lacks are applied in one transaction, so a failed or killed upgrade leaves the schema it had. The hash in
`schema_migrations` says whether the files applied are the files of this program: two builds that number different files
alike must not write into each other's tables. A warehouse with other hashes can still be read.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models_py import __version__
from models_py.errors import BusyWarehouseError, RegistryError, WarehouseError
from models_py.warehouse.folder_lock import holder_of
from models_py.warehouse.location import is_settled, settle

if TYPE_CHECKING:
    import duckdb

ENVIRONMENT_VARIABLE = "DUCKSPECT_WAREHOUSE"
DEFAULT_PATH = "warehouse.duckdb"

SCHEMAS = ("raw", "ml", "staging", "intermediate", "reference", "ml_builds", "work")
_TRAINING_PATIENCE, _STEP = 2.0, 0.05
"""Seconds to wait for a training that writes an epoch (it takes about 0.05 s), and between two tries."""
_COPY = re.compile(r"\.(published|read-[\d-]+)$")  # copies for readers share the files folder of their original
_MIGRATION = re.compile(r"(\d{4})_\w+\.sql$")
_MIGRATIONS_TABLE = """
create table if not exists schema_migrations (
    version integer primary key,
    name varchar not null,
    sha256 varchar not null,
    applied_at timestamptz not null,
    applied_by varchar not null
);
comment on table schema_migrations is 'One row per schema file applied to this warehouse';
comment on column schema_migrations.version is 'Number of the file in sql/schema';
comment on column schema_migrations.name is 'Name of the file';
comment on column schema_migrations.sha256 is 'Hash of its text when it was applied';
comment on column schema_migrations.applied_at is 'When';
comment on column schema_migrations.applied_by is 'Version of duckspect that applied it';
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered schema file."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def warehouse_path(path: str | Path | None = None) -> Path:
    """Resolve the warehouse file: the argument, else `DUCKSPECT_WAREHOUSE`, else `warehouse.duckdb` here."""
    return Path(path or os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_PATH).expanduser().absolute()


def files_folder(path: str | Path | None = None) -> Path:
    """The folder beside `warehouse.duckdb` for archives, masks, artifacts and kept images: `warehouse_files`."""
    warehouse = warehouse_path(path)
    return warehouse.with_name(f"{_COPY.sub('', warehouse.stem)}_files")


def runs_folder(path: str | Path | None = None) -> Path:
    """The folder with one folder per training, for its checkpoints; a training locks its own while it runs."""
    return files_folder(path) / "runs"


def features_folder(path: str | Path | None = None) -> Path:
    """The folder of the features that trainings have computed; what is missing in it is computed again."""
    return files_folder(path) / "features"


def file_of(con: duckdb.DuckDBPyConnection) -> Path | None:
    """The file that a connection has open, None for a database in memory."""
    row = con.execute("select path from duckdb_databases() where database_name = current_database()").fetchone()
    return None if row is None or row[0] is None else Path(row[0])


def sql_folder() -> Path:
    """The folder of the SQL files: inside an installed package, else at the top of the repository."""
    packaged = Path(__file__).parents[1] / "sql"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "sql"


def migrations(folder: Path | None = None) -> list[Migration]:
    """Read the schema files in order."""
    files = sorted((folder or sql_folder() / "schema").glob("*.sql"))
    known = [Migration(int(m[1]), file.name, file.read_text()) for file in files if (m := _MIGRATION.match(file.name))]
    if [migration.version for migration in known] != list(range(1, len(known) + 1)):
        raise WarehouseError(f"{folder or sql_folder()}: schema files must be numbered 0001, 0002, ... without a gap.")
    return known


def open_warehouse(
    path: str | Path | None = None, *, read_only: bool = False, patience: float = _TRAINING_PATIENCE
) -> duckdb.DuckDBPyConnection:
    """Open the warehouse and bring its schema up to date; a newer schema is refused and left as it is.

    If a training is running, wait up to `patience` seconds for it to close the file. No other process is waited for.
    """
    file = warehouse_path(path)
    if read_only and not file.exists():
        raise WarehouseError(f"There is no warehouse at {file}. Make one with `duckspect init` or `duckspect demo`.")
    if not file.parent.is_dir():
        raise WarehouseError(
            f"There is no folder {file.parent} for the warehouse {file.name}. Make it, or choose another."
        )
    # DuckDB names the database after the file: in raw.duckdb, `raw.images` could mean a table of the database `raw`.
    if file.name.split(".")[0].lower() in SCHEMAS:
        raise WarehouseError(
            f"{file.name}: a warehouse cannot be named after one of its schemas ({', '.join(SCHEMAS)}). "
            "Rename the file."
        )
    con = _connect(file, read_only=read_only, patience=patience)
    try:
        con.execute("set TimeZone = 'UTC'")
        migrate(con, read_only=read_only, where=str(file))
    except BaseException:
        con.close()
        raise
    return con


def probe(file: Path) -> None:
    """Raise WarehouseError if a warehouse cannot be written now; call it before slow work begins."""
    _connect(file, read_only=False).close()


def _connect(file: Path, *, read_only: bool, patience: float = _TRAINING_PATIENCE) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + patience
    while True:
        try:
            return _connect_now(file, read_only=read_only)
        except BusyWarehouseError:
            if time.monotonic() >= deadline or not _is_training(file):
                raise
            time.sleep(_STEP)


def _is_training(file: Path) -> bool:
    return any(holder_of(folder) is not None for folder in runs_folder(file).glob("*"))


def _connect_now(file: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    import duckdb

    try:
        return duckdb.connect(file, read_only=read_only)
    except duckdb.Error as error:
        text = str(error)
        # DuckDB allows one configuration per file and process: where this process has it open for writing,
        # a second connection must be opened for writing, too.
        if read_only and "different configuration" in text:
            return duckdb.connect(file)
        if "Could not set lock" in text or "Conflicting lock" in text:
            holder = f" (process {pid[1]})" if (pid := re.search(r"PID (\d+)", text)) else ""
            raise BusyWarehouseError(file, holder) from error
        raise WarehouseError(f"{file} cannot be opened as a DuckDB file: {text.splitlines()[0]}") from error


def migrate(
    con: duckdb.DuckDBPyConnection,
    *,
    read_only: bool = False,
    where: str = "this warehouse",
    folder: Path | None = None,
) -> list[Migration]:
    """Apply the schema files that this warehouse does not have yet, all or none; return those applied.

    The same transaction updates the URIs of its files if the warehouse was moved to another folder.
    """
    known = migrations(folder)
    applied = _applied(con)
    done = max(applied, default=0)
    if done > len(known):
        raise WarehouseError(
            f"{where} was written by a newer duckspect (schema {done}; this version {__version__} knows {len(known)}). "
            f"It was left as it is. Upgrade duckspect to open it."
        )
    if not read_only:  # reading cannot harm a warehouse of another build, and lets its data be taken along
        _compare(known, applied, where)
    missing = known[done:]
    if missing and read_only:
        raise WarehouseError(
            f"{where} has schema {done}, but this duckspect {__version__} needs {len(known)}, "
            f"and it was opened read-only. Run `duckspect init` once to bring it up to date."
        )
    if missing or not (read_only or is_settled(con)):
        # One transaction for both: SQL cannot see whether a file exists, so the URIs cannot be updated by a schema
        # file.
        with transaction(con):
            con.execute(_MIGRATIONS_TABLE)
            for migration in missing:
                _apply(con, migration)
            settle(con)
    return missing


def _compare(known: list[Migration], applied: dict[int, tuple[str, str]], where: str) -> None:
    """Refuse a warehouse whose applied schema files differ from this program's."""
    for migration in known[: max(applied, default=0)]:
        sha256, by = applied.get(migration.version, ("", "nothing"))
        if sha256 != migration.sha256:
            raise WarehouseError(
                f"{where} has another schema: {migration.name} has the hash {migration.sha256[:12]} in this duckspect "
                f"{__version__}, but was applied with {sha256[:12] or 'none'} by {by}. It was left as it is and "
                f"can be read. To write it, use the duckspect that made it, or load its data into a new warehouse."
            )


def _apply(con: duckdb.DuckDBPyConnection, migration: Migration) -> None:
    import duckdb

    try:
        con.execute(migration.sql)
    except duckdb.Error as error:
        raise WarehouseError(
            f"Schema file {migration.name} could not be applied, nothing was changed: {error}"
        ) from error
    con.execute(
        "insert into schema_migrations (version, name, sha256, applied_at, applied_by) values (?, ?, ?, now(), ?)",
        [migration.version, migration.name, migration.sha256, __version__],
    )


def applied_version(con: duckdb.DuckDBPyConnection) -> int:
    """The newest schema file applied to a database, 0 for a fresh one."""
    return max(_applied(con), default=0)


def _applied(con: duckdb.DuckDBPyConnection) -> dict[int, tuple[str, str]]:
    """The schema files applied to a database: the hash of each, and the version of duckspect that applied it.

    Versions below 1 are no schema files: version 0 is the hash of the SQL macros.
    """
    table = con.execute(
        "select 1 from duckdb_tables() where database_name = current_database() "
        "and schema_name = 'main' and table_name = 'schema_migrations'"
    ).fetchone()
    if table is None:
        return {}
    rows = con.execute("select version, sha256, applied_by from schema_migrations where version > 0").fetchall()
    return {version: (sha256, by) for version, sha256, by in rows}


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit at the end of the block; roll back if anything in it raises."""
    con.execute("begin")
    try:
        yield
    except BaseException:
        con.execute("rollback")
        raise
    con.execute("commit")


def artifacts_folder(con: duckdb.DuckDBPyConnection) -> Path:
    """The folder of the models' artifacts, beside the warehouse file that a connection has open."""
    file = file_of(con)
    if file is None:
        raise RegistryError("Models are stored beside the warehouse file, but this warehouse is in memory.")
    return files_folder(file) / "artifacts"
