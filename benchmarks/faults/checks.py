"""Check a warehouse after a fault: every acknowledged row and version is there, and nothing is half written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import duckdb

from faults.ground import FILES, WAREHOUSE
from models_py.errors import DuckspectError
from models_py.registry import list_versions
from udfs import connect

_KEPT = ("raw.images", "raw.inspections", "raw.annotations", "raw.files", "raw.reviews", "ml.verdicts")
Kept = dict[str, int]


def kept(folder: Path) -> Kept:
    """The numbers of rows and of versions, none of which may be lost."""
    with connect(folder / WAREHOUSE) as con:
        return _kept(con)


def _kept(con: duckdb.DuckDBPyConnection) -> Kept:
    counts = ", ".join(f"(select count(*) from {name})" for name in (*_KEPT, "ml.model_versions"))
    return dict(zip((*_KEPT, "ml.model_versions"), con.execute(f"select {counts}").fetchall()[0], strict=True))


def problems(folder: Path, before: Kept) -> Iterator[tuple[str, str]]:
    """Describe the faults of a warehouse, by kind."""
    try:
        con = connect(folder / WAREHOUSE)
    except (DuckspectError, duckdb.Error) as error:
        yield "lost", f"the warehouse does not open: {error}"
        return
    with con:
        yield from _versions(con)
        yield from _aliases(con)
        running = con.execute("select count(*) from ml.training_runs where status = 'running'").fetchall()[0][0]
        if running:
            yield "half", f"{running} trainings are on record as running, and none is"
        for name, count in _kept(con).items():
            if count < before[name]:
                yield "lost", f"{name} has {count} rows of {before[name]}"
    yield from _readers(folder)


def _versions(con: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str]]:
    """Check that every file of every version is the one that was registered."""
    from models_py.registry.artifact import read_spec
    from models_py.registry.compiled.network import CompiledNetwork

    for version in list_versions(con):
        try:
            for name, sha256 in read_spec(version.folder, version.artifact_sha256)["files"].items():
                if hashlib.sha256((version.folder / name).read_bytes()).hexdigest() != sha256:
                    yield "half", f"{version.reference}: {name} is another"
            if version.compiled_sha256:
                CompiledNetwork(version.compiled_file, version.compiled_sha256)
        except (DuckspectError, OSError) as error:
            yield "half", f"{version.reference} is not whole: {error}"


def _aliases(con: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str]]:
    known = {(item.name, item.version) for item in list_versions(con)}
    holding = con.execute("select name, alias, version from ml.alias_history where valid_to is null").fetchall()
    for name, alias, version in holding:
        if (name, version) not in known:
            yield "half", f"{name}@{alias} names version {version}, which does not exist"
    if len({(name, alias) for name, alias, _ in holding}) < len(holding):
        yield "half", f"an alias names two versions: {holding}"


def _readers(folder: Path) -> Iterator[tuple[str, str]]:
    copy = folder / WAREHOUSE.replace(".duckdb", ".published.duckdb")
    if not copy.exists():
        return
    try:
        with duckdb.connect(copy, read_only=True) as con:
            con.execute("from kpi_summary").fetchall()
    except duckdb.Error as error:
        yield "half", f"readers' copy: {error}"


def leftovers(folder: Path) -> list[str]:
    """Files and folders that a command began to make and did not finish."""
    found = [path for path in folder.rglob(".*") if ".partial" in path.name or path.name.startswith(".incoming-")]
    with connect(folder / WAREHOUSE) as con:
        whole = {version.folder.name for version in list_versions(con)}
    found += [path for path in (folder / FILES / "artifacts").glob("*/*") if path.name not in whole]
    return [str(path.relative_to(folder)) for path in found]
