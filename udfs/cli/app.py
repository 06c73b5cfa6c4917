"""The list of commands: help, the reference in docs/cli.md and the tests iterate it."""

from __future__ import annotations

from typing import Annotated

import typer

from models_py import __version__
from udfs.cli import _build, _dashboard, _data, _models, _workshop, backup, serve, sql

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
    _data.init,
    _data.demo,
    _data.ingest,
    _data.relocate,
    _data.info,
    _data.layouts,
    _workshop.train,
    _workshop.evaluate,
    _workshop.tune,
    _workshop.architectures,
    _build.build,
    _build.publish,
    backup.backup,
    backup.restore,
    _build.export_sql,
    serve.serve,
    _dashboard.dashboard,
    _dashboard.review,
    sql.sql,
    sql.explain,
    sql.functions,
    sql.shell,
):
    app.command()(_command)
app.add_typer(_models.models, name="models")
app.add_typer(serve.tokens, name="tokens")
