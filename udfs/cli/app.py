"""The list of commands: help, the reference in docs/cli.md and the tests iterate it."""

from __future__ import annotations

from typing import Annotated

import typer

from models_py import __version__
from udfs.cli.backup import backup, restore
from udfs.cli.build import build, export_sql, publish
from udfs.cli.dashboard import dashboard, review
from udfs.cli.demo import demo
from udfs.cli.explain import explain, functions
from udfs.cli.golden import golden
from udfs.cli.info import info, init
from udfs.cli.ingest import ingest, layouts
from udfs.cli.models import models
from udfs.cli.relocate import relocate
from udfs.cli.serve import serve
from udfs.cli.shell import shell
from udfs.cli.sql import sql
from udfs.cli.tokens import tokens
from udfs.cli.train import architectures, evaluate, train
from udfs.cli.tune import tune

app = typer.Typer(
    name="duckspect",
    help="Visual quality inspection inside a SQL warehouse.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="The warehouse is --warehouse, else $DUCKSPECT_WAREHOUSE, else ./warehouse.duckdb. "
    "Exit status: 0 done, 1 an error in words, 2 wrong usage, 130 interrupted, 143 terminated.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"duckspect {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


for _command in (
    init,
    demo,
    ingest,
    relocate,
    info,
    layouts,
    train,
    evaluate,
    tune,
    architectures,
    build,
    publish,
    backup,
    restore,
    export_sql,
    serve,
    dashboard,
    review,
    sql,
    explain,
    functions,
    shell,
):
    app.command()(_command)
app.add_typer(models, name="models")
app.add_typer(golden, name="golden")
app.add_typer(tokens, name="tokens")
