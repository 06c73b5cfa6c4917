"""`duckspect tokens`: who may ask the server, and for what."""

from __future__ import annotations

from typing import Annotated

import typer

from udfs.cli.options import TokensFile, Warehouse
from udfs.cli.output import emit, emit_table

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
    from udfs.serving.tokens import add_token, tokens_path

    emit(add_token(tokens_path(file, warehouse), name, role))


@tokens.command("list")
def list_tokens(file: TokensFile = None, warehouse: Warehouse = None) -> None:
    """List the clients and their roles.

    Example: duckspect tokens list
    """
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
    from udfs.serving.tokens import remove_token, tokens_path

    remove_token(tokens_path(file, warehouse), name)
    emit(f"{name} is refused from now on.")
