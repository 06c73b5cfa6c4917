"""The plugin of dbt-duckdb: it registers the SQL functions on dbt's connection, and retrains for `retrained_models`.

It is named in `profiles.yml`, and is the only Python that the dbt project calls.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError

from models_py.errors import DuckspectError

if TYPE_CHECKING:
    import duckdb
    from dbt.adapters.duckdb.credentials import DuckDBCredentials

_IN_MEMORY = ":memory:"


class Plugin(BasePlugin):
    """Brings the warehouse's schema up to date and registers the functions, once per connection.

    dbt-duckdb looks for a class of this name.
    """

    def update_connection_config(self, creds: DuckDBCredentials, config: dict[str, Any]) -> None:  # noqa: ARG002
        """Open the warehouse before dbt does, which would print a traceback if it cannot be opened."""
        from models_py.warehouse.database import open_warehouse

        if creds.path != _IN_MEMORY:
            with _errors_of_dbt():
                open_warehouse(creds.path).close()

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Prepare the connection that all of dbt's threads take their cursors from."""
        from models_py.warehouse.database import migrate
        from udfs.session.host import prepare_process
        from udfs.session.session import equip

        if _is_the_program():
            prepare_process()
        with _errors_of_dbt():
            migrate(conn)
            equip(conn)


def _is_the_program() -> bool:
    """Whether the process is dbt's command, and not a server or a notebook that has dbt build something."""
    program = Path(sys.argv[0])
    return program.stem == "dbt" or program.parts[-3:] == ("dbt", "cli", "main.py")


@contextmanager
def _errors_of_dbt() -> Iterator[None]:
    """Raise our errors as dbt's own class, for which it prints only the message and no traceback."""
    try:
        yield
    except DuckspectError as error:
        raise DbtRuntimeError(str(error)) from error


def retrain(con: duckdb.DuckDBPyConnection, names: Sequence[str]) -> Any:
    """Train each named model again if the rows of its query changed; return what was done as an Arrow table.

    Task, architecture, query and options are those of the newest version that was trained here. The result becomes
    the challenger.
    """
    import pyarrow as pa

    schema = pa.schema(
        {"model": pa.string(), "version": pa.int32(), "outcome": pa.string(), "rows_sha256": pa.string()}
    )
    return pa.Table.from_pylist([_retrain(con, name) for name in names], schema)


def _retrain(con: duckdb.DuckDBPyConnection, name: str) -> dict[str, Any]:
    from models_py.progress import SilentReport
    from models_py.registry import list_versions
    from models_py.training.plan import plan
    from models_py.training.train import carry_out

    version = next((item for item in list_versions(con, name) if item.train_query), None)
    if version is None:
        return {"model": name, "outcome": "never trained here"}
    planned = plan(
        con,
        name=name,
        task=version.task,
        query=str(version.train_query),
        architecture=version.architecture,
        options=version.params,
    )
    outcome = "rows unchanged"
    if planned.dataset.sha256 != version.snapshot_sha256:
        version, outcome = carry_out(con, planned, SilentReport()), "trained"
    return {
        "model": name,
        "version": version.version,
        "outcome": outcome,
        "rows_sha256": planned.dataset.sha256,
    }
