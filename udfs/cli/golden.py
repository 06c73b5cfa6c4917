"""`duckspect golden`: which image is a product's golden board."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from udfs import connect
from udfs.cli.options import AsJson, Warehouse
from udfs.cli.output import emit, emit_json, emit_table, note

golden = typer.Typer(help="Say which image is the golden board of a product.", no_args_is_help=True)


@golden.command("set")
def set_image(
    product: Annotated[str, typer.Argument(help="The product, as inspections name it.")],
    image: Annotated[str, typer.Argument(help="Path or URL of its golden board.")],
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    since: Annotated[
        datetime | None, typer.Option(help="From when it holds; from now on if left out.", metavar="TIME")
    ] = None,
    warehouse: Warehouse = None,
) -> None:
    """Choose a product's golden board: models that compare judge its images beside it, unless a pair is linked.

    Example: duckspect golden set PCB-A1 golden/a1.png --reason "revision B"
    """
    from models_py.datasets.golden import set_golden_image
    from models_py.registry.aliases import who

    with connect(warehouse) as con:
        moment = None if since is None else since.astimezone()
        chosen = set_golden_image(con, product, image, by=who(), reason=reason, since=moment)
        known = con.execute("select 1 from raw.files where uri = ?", [chosen.uri]).fetchone()
    emit(f"{chosen.uri} is the golden board of {product} from {chosen.valid_from:%Y-%m-%d %H:%M:%S %Z} on.")
    if known is None:
        note("Its folder is not ingested: ingest it, or name it in DUCKSPECT_ALLOWED_ROOTS, so that it may be read.")


@golden.command("list")
def list_images(
    product: Annotated[str | None, typer.Argument(help="Only this product.")] = None,
    warehouse: Warehouse = None,
    as_json: AsJson = False,
) -> None:
    """List the golden boards of products, with their history.

    Example: duckspect golden list PCB-A1
    """
    from models_py.datasets.golden import golden_images

    with connect(warehouse, read_only=True) as con:
        found = [asdict(item) for item in golden_images(con, product)]
    if as_json:
        emit_json(found)
    elif found:
        emit_table(list(found[0]), [[str(value) for value in row.values()] for row in found])
    else:
        emit("No product has a golden board. Choose one: duckspect golden set PRODUCT IMAGE")
