"""`duckspect dashboard` and `duckspect review`."""

from __future__ import annotations

from typing import Annotated

import typer

from udfs.cli._data import Warehouse


def dashboard(
    address: Annotated[str, typer.Option("--http", metavar="HOST:PORT", help="Where to listen.")] = "127.0.0.1:8501",
    warehouse: Warehouse = None,
) -> None:
    """Show the dashboard: overview, vision lab, review desk, models.

    Example: duckspect dashboard --http 127.0.0.1:8501
    """
    from udfs.cli._pages import run_dashboard

    run_dashboard(warehouse, address)


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
    from udfs.cli._pages import run_review

    run_review(warehouse, inspection, verdict, reviewer, label, model, box, is_new_label=new_label)
