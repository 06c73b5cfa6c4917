"""Starting a server from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from models_py.errors import DuckspectError
from models_py.warehouse.database import warehouse_path
from udfs.cli.output import note
from udfs.serving.tokens import tokens_path


def run_server(
    warehouse: Path | None,
    tokens: Path | None,
    http: str | None,
    quack: str | None,
    *,
    keeps_images: bool,
    limits: Mapping[str, Any],
    sql: Mapping[str, Any],
) -> None:
    """Serve until told to stop."""
    from udfs.cli import run_for

    try:
        from udfs.serving.addresses import address_of
        from udfs.serving.request_gate import RequestLimits
        from udfs.serving.serve import ServerOptions, SqlLimits, serve
    except ModuleNotFoundError as error:
        raise DuckspectError(
            f"serve: needs the package {error.name}. Install what it needs with: pip install 'duckspect[serve]'"
        ) from error
    options = ServerOptions(
        warehouse,
        tokens_path(tokens, warehouse),
        address_of(http, "--http") if http else None,
        address_of(quack, "--quack") if quack else None,
        keeps_images=keeps_images,
        limits=RequestLimits(**limits),
        sql=SqlLimits(**sql),
    )
    for address in (options.http, options.quack):
        if address is not None and not address.is_local:
            note(f"{address.host} can be reached by others, without encryption. Put a proxy with TLS in front: README.")
    serve(options, partial(run_for, warehouse=warehouse_path(warehouse)), note)
