"""`duckspect dashboard`, and what its review desk does from a script: `duckspect review`."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from models_py.errors import DuckspectError
from models_py.warehouse.database import ENVIRONMENT_VARIABLE, warehouse_path
from udfs.cli.options import Warehouse
from udfs.cli.output import emit, note

_THEME = {
    "theme.light.primaryColor": "#0072B2",
    "theme.light.backgroundColor": "#FFFFFF",
    "theme.light.secondaryBackgroundColor": "#F3F6F9",
    "theme.light.textColor": "#1B2733",
    "theme.dark.primaryColor": "#56B4E9",
    "theme.dark.backgroundColor": "#10161D",
    "theme.dark.secondaryBackgroundColor": "#1A232D",
    "theme.dark.textColor": "#E6EDF3",
    "theme.baseRadius": "8px",
}


def dashboard(
    address: Annotated[str, typer.Option("--http", metavar="HOST:PORT", help="Where to listen.")] = "127.0.0.1:8501",
    warehouse: Warehouse = None,
) -> None:
    """Show the dashboard: overview, vision lab, review desk, models.

    Example: duckspect dashboard --http 127.0.0.1:8501
    """
    from udfs.serving.addresses import address_of

    place = address_of(address, "--http")
    if find_spec("streamlit") is None or find_spec("dashboard") is None:
        raise DuckspectError(
            "dashboard: needs the package streamlit. Install it with: pip install 'duckspect[dashboard]'"
        )
    options = {
        "server.address": place.host,
        "server.port": str(place.port),
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        **_THEME,
    }
    command = [sys.executable, "-m", "dashboard", *(f"--{name}={value}" for name, value in options.items())]
    note(f"The dashboard is at http://{place.host}:{place.port}.")
    environment = {**os.environ, ENVIRONMENT_VARIABLE: str(warehouse_path(warehouse))}
    sys.exit(subprocess.run(command, env=environment, check=False).returncode)  # noqa: S603 - our own page


def review(
    inspection: Annotated[str, typer.Argument(help="inspection_id, as in kpi_review_queue.")],
    verdict: Annotated[str, typer.Option(help="confirmed, rejected, relabelled or missed.")],
    reviewer: Annotated[str, typer.Option(help="Your name.")],
    label: Annotated[str | None, typer.Option(help="The class that you see.")] = None,
    model: Annotated[str | None, typer.Option(help="The judged version, as pcb@1.")] = None,
    box: Annotated[str | None, typer.Option(metavar="X1,Y1,X2,Y2", help="The region, in pixels.")] = None,
    new_label: Annotated[
        bool, typer.Option("--new-label", help="The label is a class that the product did not have so far.")
    ] = False,
    warehouse: Warehouse = None,
) -> None:
    """Record an inspector's verdict on a prediction.

    Example: duckspect review 26c65b99 --verdict relabelled --label spur --model pcb@1 --reviewer ortega
    """
    from udfs.review import Review, record

    name, _, version = (model or "").partition("@")
    if model and not version.isdecimal():
        raise DuckspectError(f"--model: must be a version, as pcb@1, but is {model!r}.")
    number = int(version) if version else None
    found = Review(inspection, verdict, label, reviewer, name or None, number, _box(box), new_label)
    others = record(warehouse, found)
    emit(f"{verdict}: on record; the next `duckspect build` counts it.")
    if others:
        emit(f"Reviewed today by {', '.join(others)} too; the latest counts.")


def _box(text: str | None) -> tuple[float, float, float, float] | None:
    if text is None:
        return None
    try:
        x1, y1, x2, y2 = (float(part) for part in text.split(","))
    except ValueError as error:
        raise DuckspectError(f"--box: must be X1,Y1,X2,Y2 in pixels, but is {text!r}.") from error
    return x1, y1, x2, y2
