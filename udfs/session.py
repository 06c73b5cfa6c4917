"""A session is an ordinary DuckDB connection to a warehouse whose schema is up to date."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


def connect(path: str | Path | None = None, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """Open the warehouse (the argument, else `DUCKSPECT_WAREHOUSE`, else `warehouse.duckdb`), made if it is missing."""
    from models_py.warehouse import open_warehouse

    return open_warehouse(path, read_only=read_only)
