"""`duckspect serve`: the warehouse for many clients."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from models_py.errors import DuckspectError
from models_py.warehouse.database import warehouse_path
from udfs.cli.options import TokensFile, Warehouse
from udfs.cli.output import note
from udfs.cli.run import run_for

_HTTP, _QUACK = "127.0.0.1:8480", "127.0.0.1:9494"


def serve(
    context: typer.Context,
    http: Annotated[str | None, typer.Option(metavar="HOST:PORT", help=f"Verdicts over HTTP, as {_HTTP}.")] = None,
    quack: Annotated[str | None, typer.Option(metavar="HOST:PORT", help=f"SQL over Quack, as {_QUACK}.")] = None,
    tokens: TokensFile = None,
    keep_images: Annotated[
        bool, typer.Option("--keep-images/--no-keep-images", help="Keep uploads for reviewers, each once.")
    ] = True,
    queue: Annotated[int, typer.Option(min=1, help="Requests at work or waiting; the next one is sent away.")] = 64,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds until a request is given up.")] = 30,
    max_body: Annotated[int, typer.Option(min=1, metavar="MIB", help="Largest body.")] = 32,
    bodies: Annotated[int, typer.Option(min=1, metavar="MIB", help="All bodies in memory together.")] = 256,
    memory: Annotated[
        int | None, typer.Option(min=128, metavar="MIB", help="Memory for SQL; half of the machine's if left out.")
    ] = None,
    temp: Annotated[int, typer.Option(min=1, metavar="MIB", help="Temporary files of SQL.")] = 10_240,
    reader_rows: Annotated[
        float, typer.Option(min=1, help="Rows that a reader's query may go through, by its plan.")
    ] = 1e9,
    writer_rows: Annotated[float, typer.Option(min=1, help="The same for a writer's query.")] = 1e10,
    warehouse: Warehouse = None,
) -> None:
    """Serve the warehouse to many clients, over HTTP and Quack; both on this machine only if neither is named.

    Example: duckspect serve --http 127.0.0.1:8480 --quack 127.0.0.1:9494
    """
    if http is None and quack is None:
        http, quack = _HTTP, _QUACK
    from udfs.serving.tokens import tokens_path

    try:
        from udfs.serving.addresses import address_of
        from udfs.serving.request_gate import RequestLimits
        from udfs.serving.serve import ServerOptions, SqlLimits
        from udfs.serving.serve import serve as run_server
    except ModuleNotFoundError as error:
        raise DuckspectError(
            f"serve: needs the package {error.name}. Install what it needs with: pip install 'duckspect[serve]'"
        ) from error
    memory_limit = {} if memory is None else {"memory_bytes": memory << 20}
    options = ServerOptions(
        warehouse,
        tokens_path(tokens, warehouse),
        address_of(http, "--http") if http else None,
        address_of(quack, "--quack") if quack else None,
        keeps_images=keep_images,
        limits=RequestLimits(at_once=queue, seconds=timeout, body_bytes=max_body << 20, bytes_at_once=bodies << 20),
        sql=SqlLimits(temporary_bytes=temp << 20, rows={"reader": reader_rows, "writer": writer_rows}, **memory_limit),
    )
    for address in (options.http, options.quack):
        if address is not None and not address.is_local:
            note(f"{address.host} can be reached by others, without encryption: docs/serving.md has a proxy with TLS.")
    run_server(options, partial(run_for, context.find_root().command, warehouse=warehouse_path(warehouse)), note)
