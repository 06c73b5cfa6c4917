"""Run the pages' queries on the published copy, which is opened again whenever a build has replaced it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import streamlit as st

from models_py.errors import WarehouseError
from models_py.registry import find, limit_warning
from models_py.warehouse.database import sql_folder, warehouse_path
from udfs import connect
from udfs.builds.build import publish, published_path

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class PublishedCopy:
    """A published copy, in the state that one build wrote."""

    warehouse: Path
    file: Path
    stamp: Stamp

    def rows(self, name: str, **values: Any) -> pd.DataFrame:
        """The rows of `sql/dashboard/NAME.sql`; values for which it has no parameter are ignored."""
        return _rows(self, name, {key: None if value == [] else value for key, value in values.items()})

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A read-only connection with the SQL functions."""
        return _connection(self.file, self.stamp).cursor()

    def limit_warning(self, reference: str) -> str | None:
        """The warning about a version's threshold, as `duckspect models promote` prints it; None if it is fine."""
        with self.cursor() as con:
            return limit_warning(con, find(con, reference))


def find_source() -> PublishedCopy:
    """The current published copy; it is made now if no build was published yet."""
    warehouse = warehouse_path()
    file = published_path(warehouse)
    if not file.exists():
        if not warehouse.exists():
            raise WarehouseError(f"There is no warehouse at {warehouse}. Make one: `duckspect demo`.")
        publish(warehouse)
    stat = os.stat(file)
    source = PublishedCopy(warehouse, file, (stat.st_ino, stat.st_mtime_ns, stat.st_size))
    with source.cursor() as con:
        kpi = "select 1 from duckdb_views() where schema_name = 'main' and view_name = 'kpi_summary'"
        known = con.execute(kpi).fetchone()
    if known is None:
        raise WarehouseError(f"{warehouse} has no KPI views yet. Build them: `duckspect build`.")
    return source


@st.cache_resource(max_entries=2, show_spinner=False)
def _connection(file: Path, stamp: Stamp) -> duckdb.DuckDBPyConnection:
    """Open a state of the copy under a name of its own, which is removed as soon as it is open.

    DuckDB shares one database for each file name in a process: under the same name it would go on showing the state
    that was opened first.
    """
    state = "-".join(map(str, (os.getpid(), *stamp)))
    name = file.with_name(f"{file.stem.removesuffix('.published')}.read-{state}.duckdb")
    try:
        os.link(file, name)
    except OSError as error:
        raise WarehouseError(f"{name}: cannot be made, to read {file.name} by: {error.strerror}.") from error
    try:
        return connect(name, read_only=True)
    finally:
        name.unlink()


@st.cache_data(max_entries=500, show_spinner=False)
def _rows(source: PublishedCopy, name: str, values: dict[str, Any]) -> pd.DataFrame:
    text = (sql_folder() / "dashboard" / f"{name}.sql").read_text()
    with source.cursor() as con:
        (statement,) = con.extract_statements(text)
        return con.execute(statement, {key: values[key] for key in statement.named_parameters}).df()
