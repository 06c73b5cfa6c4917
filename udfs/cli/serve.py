"""`duckspect serve` and the tokens of its clients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from udfs.cli._data import Warehouse

TokensFile = Annotated[
    Path | None,
    typer.Option(
        "--tokens",
        metavar="FILE",
        help="File of tokens; beside the warehouse if left out.",
        envvar="DUCKSPECT_TOKENS",
        show_envvar=False,
    ),
]
_HTTP, _QUACK = "127.0.0.1:8480", "127.0.0.1:9494"


def serve(
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
    from udfs.cli._serving import run_server

    if http is None and quack is None:
        http, quack = _HTTP, _QUACK
    limits = {"at_once": queue, "seconds": timeout, "body_bytes": max_body << 20, "bytes_at_once": bodies << 20}
    sql: dict[str, object] = {"temporary_bytes": temp << 20, "rows": {"reader": reader_rows, "writer": writer_rows}}
    if memory is not None:
        sql["memory_bytes"] = memory << 20
    run_server(warehouse, tokens, http, quack, keeps_images=keep_images, limits=limits, sql=sql)


tokens = typer.Typer(help="Say who may ask the server, and for what.", no_args_is_help=True)


@tokens.command("add")
def add(
    name: Annotated[str, typer.Argument(help="The client, as in line1; it is on record with every verdict.")],
    role: Annotated[str, typer.Option(help="reader (SELECT), writer (verdicts and rows) or admin.")] = "reader",
    file: TokensFile = None,
    warehouse: Warehouse = None,
) -> None:
    """Make a token and print it, this once: the file holds only its hash.

    Example: duckspect tokens add line1 --role writer
    """
    from udfs.cli.output import emit
    from udfs.serving.tokens import add_token, tokens_path

    emit(add_token(tokens_path(file, warehouse), name, role))


@tokens.command("list")
def list_tokens(file: TokensFile = None, warehouse: Warehouse = None) -> None:
    """List the clients and their roles.

    Example: duckspect tokens list
    """
    from udfs.cli.output import emit_table
    from udfs.serving.tokens import read_tokens, tokens_path

    rows = [(token.name, token.role, token.created_at) for token in read_tokens(tokens_path(file, warehouse))]
    emit_table(("name", "role", "created_at"), rows)


@tokens.command()
def remove(
    name: Annotated[str, typer.Argument(help="The client.")], file: TokensFile = None, warehouse: Warehouse = None
) -> None:
    """Take a client's token away; a running server refuses it from the next request on.

    Example: duckspect tokens remove line1
    """
    from udfs.cli.output import emit
    from udfs.serving.tokens import remove_token, tokens_path

    remove_token(tokens_path(file, warehouse), name)
    emit(f"{name} is refused from now on.")
