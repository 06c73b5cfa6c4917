"""`duckspect init` and `duckspect info`: a warehouse, and what is in it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models_py import __version__
from models_py.warehouse.database import applied_version, files_folder, warehouse_path
from udfs import connect
from udfs.cli.options import AsJson, Warehouse
from udfs.cli.output import emit, emit_json, emit_table

if TYPE_CHECKING:
    import duckdb

_STACK = (
    "duckdb",
    "ibis-framework",
    "torch",
    "torchvision",
    "ultralytics",
    "scikit-learn",
    "pyarrow",
    "dbt-core",
    "dbt-duckdb",
    "sqlglot",
)

_MODELS = """
select
    versions.name, versions.version, versions.task, versions.architecture,
    coalesce(string_agg(aliases.alias, ', ' order by aliases.alias), '') as aliases, versions.created_at
from ml.model_versions as versions
left join ml.model_aliases as aliases using (name, version)
group by all order by all
"""


def init(warehouse: Warehouse = None) -> None:
    """Make the warehouse, or bring its schema up to date.

    Example: duckspect init --warehouse plant.duckdb
    """
    file = warehouse_path(warehouse)
    existed = file.exists()
    with connect(file) as con:
        state = "is up to date" if existed else "is ready"
        emit(f"{file} {state}: schema {applied_version(con)}.")


def info(warehouse: Warehouse = None, as_json: AsJson = False) -> None:
    """Show tables, rows, size, models and the versions of the stack.

    Example: duckspect info --json
    """
    with connect(warehouse, read_only=True) as con:
        found = _facts(con, warehouse)
    emit_json(found) if as_json else _show(found)


def _facts(con: duckdb.DuckDBPyConnection, warehouse: Path | None) -> dict[str, Any]:
    """Collect tables with rows, file sizes, models and library versions."""
    file = warehouse_path(warehouse)
    return {
        "warehouse": str(file),
        "schema": applied_version(con),
        "size_bytes": file.stat().st_size,
        "files_folder": str(files_folder(file)),
        "tables": [
            {"table": f"{schema}.{table}", "rows": _count(con, schema, table), "comment": comment}
            for schema, table, comment in con.execute(
                "select schema_name, table_name, comment from duckdb_tables() "
                "where not internal and database_name = current_database() "
                "order by schema_name = 'main', schema_name desc, table_name"
            ).fetchall()
        ],
        "models": con.execute(_MODELS).to_arrow_table().to_pylist(),
        "versions": {"duckspect": __version__, "python": platform.python_version(), **dict(map(_version, _STACK))},
    }


def _count(con: duckdb.DuckDBPyConnection, schema: str, table: str) -> int:
    row = con.execute(f'select count(*) from "{schema}"."{table}"').fetchone()
    return int(row[0]) if row else 0


def _version(package: str) -> tuple[str, str]:
    try:
        return package, version(package)
    except PackageNotFoundError:
        return package, "not installed"


def _show(found: dict[str, Any]) -> None:
    emit(f"{found['warehouse']} ({found['size_bytes'] / 1e6:,.1f} MB, schema {found['schema']})\n")
    emit_table(["table", "rows", "holds"], [(t["table"], t["rows"], t["comment"] or "") for t in found["tables"]])
    if found["models"]:
        emit_table(list(found["models"][0]), [list(model.values()) for model in found["models"]])
    else:
        emit("No models registered yet.\n")
    emit("  ".join(f"{name} {number}" for name, number in found["versions"].items()))
