"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from udfs.cli.context import user_path, user_warehouse

Warehouse = Annotated[
    Path | None,
    typer.Option(
        "--warehouse",
        "-w",
        help="Warehouse file.",
        envvar="DUCKSPECT_WAREHOUSE",
        show_envvar=False,
        parser=user_path,
        callback=user_warehouse,
        metavar="<path>",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
Publish = Annotated[
    bool, typer.Option("--publish/--no-publish", help="Give readers a copy of the warehouse when it is done.")
]
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
