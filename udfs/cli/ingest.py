"""`duckspect ingest` and `layouts`: what is loaded, and what is said of it."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from models_py.errors import DuckspectError
from models_py.warehouse.database import files_folder, warehouse_path
from udfs import connect
from udfs.cli.context import user_place
from udfs.cli.options import AsJson, Publish, Warehouse
from udfs.cli.output import emit, emit_json, note
from udfs.cli.progress import display

if TYPE_CHECKING:
    from models_py.ingest import Contradiction, FolderMove, IngestOptions, IngestReport, RowCounts
    from models_py.layouts import Layout

_NAMED = 5
"""How many moves and files are shown one by one."""


def ingest(
    path: Annotated[
        str,
        typer.Argument(
            help="Folder, archive, image, CSV/Parquet manifest, or URL.", show_default=False, parser=user_place
        ),
    ],
    layout: Annotated[str | None, typer.Option(help="How to read it; recognised by itself if left out.")] = None,
    line: Annotated[
        str | None, typer.Option(help="Production line, where the data do not say; also of loaded files.")
    ] = None,
    station: Annotated[
        str | None, typer.Option(help="Inspection station, where the data do not say; also of loaded files.")
    ] = None,
    product: Annotated[
        str | None, typer.Option(help="Product type, where no manifest says it; also of loaded files.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Name of the data set; the layout's if left out.")] = None,
    classes: Annotated[str | None, typer.Option(help="Comma-separated classes; labels of others are rejected.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="Manifest column, as uri=image_path. Repeatable.")] = None,
    max_pixels: Annotated[int, typer.Option(min=1, help="Largest image accepted, width x height.")] = 250_000_000,
    earliest: Annotated[
        datetime,
        typer.Option(
            formats=["%Y-%m-%d"], help="Day in UTC before which no picture was taken; earlier times are rejected."
        ),
    ] = datetime(1990, 1, 1),
    days_ahead: Annotated[
        int, typer.Option(min=0, max=100_000, help="Days that a picture's time may lie ahead; later ones are rejected.")
    ] = 1,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Readers at once; fitted to the files if left out.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Open unchanged files too; still nothing is stored twice.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep loading what arrives, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks with --watch.")] = 2.0,
    publish: Publish = True,
    publish_every: Annotated[
        float, typer.Option(min=0, help="With --watch, least seconds between two copies for readers.")
    ] = 60.0,
    warehouse: Warehouse = None,
    as_json: AsJson = False,
) -> None:
    """Load images, labels and rejects from a folder in any known layout; only what is new or changed.

    Example: duckspect ingest ./PCBData --line AUSTIN_L1
    """
    from models_py.images import ImageLimits
    from models_py.ingest import IngestOptions
    from models_py.times import TimeLimits

    options = IngestOptions(
        layout=layout,
        line_id=line,
        station_id=station,
        product_type=product,
        source=source,
        classes=tuple(filter(None, map(str.strip, (classes or "").split(",")))),
        columns=_columns(column or []),
        limits=ImageLimits(pixels=max_pixels),
        times=TimeLimits(earliest.replace(tzinfo=UTC), days_ahead),
        workers=workers,
        again=again,
    )
    if watch:
        _load_forever(path, warehouse, options, every, publish_every if publish else None, as_json=as_json)
    else:
        _load_once(path, warehouse, options, publishing=publish, as_json=as_json)


def layouts(as_json: AsJson = False) -> None:
    """List the layouts that ingest can read, in the order in which they are recognised.

    Example: duckspect layouts
    """
    from models_py.layouts import layouts as registered

    rows = [(kind.name, (kind.__doc__ or "").strip().splitlines()[0], kind.example) for kind in registered()]
    if as_json:
        emit_json([dict(zip(("name", "reads", "example"), row, strict=True)) for row in rows])
        return
    for name, reads, example in rows:
        emit(f"{name}\n    {reads}\n    {example}")


def _columns(pairs: Sequence[str]) -> dict[str, str]:
    """Read `ours=theirs` pairs of `--column`."""
    found = {}
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not equals or not ours or not theirs:
            raise DuckspectError(f"--column: must be NAME=YOURS, such as uri=image_path, but got {pair!r}.")
        found[ours.strip()] = theirs.strip()
    return found


def _announce(layout: type[Layout], evidence: str) -> None:
    note(f"Recognised {layout.title}: {evidence}.")


def load(path: str, warehouse: Path | None, options: IngestOptions) -> IngestReport:
    """Run one pass with a progress bar."""
    from models_py.ingest import ingest as load_new
    from models_py.ingest import open_tree

    files = files_folder(warehouse)
    tree = open_tree(path, files)
    with connect(warehouse) as con, display() as shown:
        shown.update("Listing files")

        def progress(done: int, total: int, _: int) -> None:
            shown.update("Reading", done, total)

        return load_new(con, tree, files, options, announce=_announce, progress=progress)


def _load_once(path: str, warehouse: Path | None, options: IngestOptions, *, publishing: bool, as_json: bool) -> None:
    """Run one pass, say what it did, and leave readers a copy if anything is new to them."""
    from udfs.builds.build import published_path
    from udfs.cli.published_copy import leave_copy

    report = load(path, warehouse, options)
    show(report, warehouse, as_json=as_json)
    if publishing and (report.has_changed or not published_path(warehouse).exists()):
        leave_copy(warehouse)


def _load_forever(
    path: str,
    warehouse: Path | None,
    options: IngestOptions,
    every: float,
    publish_every: float | None,
    *,
    as_json: bool,
) -> None:
    """Watch a folder until Ctrl-C or SIGTERM; readers get a copy now and then, none if `publish_every` is None."""
    from models_py.ingest import watch
    from udfs.cli.published_copy import SparePublisher, leave_copy

    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    note(f"Watching {path} every {every:g} s. Ctrl-C ends it.")
    copies = None if publish_every is None else SparePublisher(publish_every, lambda: leave_copy(warehouse))
    passes = watch(
        lambda: connect(warehouse),
        path,
        files_folder(warehouse),
        options,
        every=every,
        stop=stop,
        announce=_quiet,
        look=copies.look if copies else _do_nothing,
    )
    for report in passes:
        show(report, warehouse, as_json=as_json)
        if copies:
            copies.changed()
    if copies:
        copies.finish()
    note("Stopped.")


def _do_nothing() -> None:
    """Leave no copies."""


def _quiet(layout: type[Layout], evidence: str) -> None:
    """Say nothing: a watch recognises its folder at every look."""


def show(report: IngestReport, warehouse: Path | None, *, as_json: bool) -> None:
    """Say what a pass did, and where to look for what was rejected."""
    if as_json:
        emit_json({**asdict(report), "warehouse": str(warehouse_path(warehouse))})
        return
    added = report.added
    emit(
        f"{report.samples:,} images found, {report.unchanged:,} unchanged. "
        f"New: {added.images:,} images, {added.inspections:,} inspections, {_labels(added)}, "
        f"{added.templates:,} template links, {added.rejected_files:,} rejects. {_speed(report)}"
    )
    if added.corrected:
        emit(f"{added.corrected:,} inspections were corrected; what they said before is in raw.superseded_inspections.")
    for moved in report.moved[:_NAMED]:
        show_move(moved)
    if len(report.moved) > _NAMED:
        rest = report.moved[_NAMED:]
        emit(f"{sum(moved.files for moved in rest):,} files were moved between {len(rest):,} other places.")
    if report.vanished:
        more = " and others" if report.vanished > len(report.vanished_files) else ""
        names = ", ".join(report.vanished_files)
        emit(
            f"Files that were loaded earlier and are gone: {report.vanished:,} ({names}{more}). "
            f"What is known of them stays. If they were moved: duckspect relocate OLD NEW"
        )
    if report.several_frames:
        emit(_frames(report.several_frames))
    if report.contradictions:
        emit(_contradictions(report.contradictions))
    if report.other_files:
        emit(f"{report.other_files:,} files are no part of this layout; see raw.files, role other.")
    if added.rejected_files:
        emit('Why files were rejected: duckspect sql "from raw.rejected_files order by seen_at desc"')


def show_move(moved: FolderMove) -> None:
    """Say what is at another place now."""
    emit(f"{moved.files:,} files were moved from {moved.old} to {moved.new}. Their inspections and labels moved along.")


def _labels(added: RowCounts) -> str:
    """How many, and what became of which kind."""
    if not added.annotations:
        return "0 labels"
    return (
        f"{added.annotations:,} labels ({added.boxes:,} boxes, {added.polygons:,} polygons, {added.masks:,} masks, "
        f"{added.classes:,} image classes)"
    )


def _frames(uris: Sequence[str]) -> str:
    named = ", ".join(uri.rsplit("/", 1)[-1] for uri in uris[:_NAMED]) + (", ..." if len(uris) > _NAMED else "")
    files = "1 file" if len(uris) == 1 else f"{len(uris):,} files"
    return f"{files} with several frames, of which the first is used: {named}"


def _contradictions(found: Sequence[Contradiction]) -> str:
    pairs = [f"  {item.uri} ({item.labels}) and {item.other_uri} ({_others(item)})" for item in found[:_NAMED]]
    more = [f"  and {len(found) - _NAMED:,} more"] if len(found) > _NAMED else []
    head = f"The same image under two names, with other labels: {len(found):,}. `duckspect train` asks which count."
    return "\n".join([head, *pairs, *more])


def _others(item: Contradiction) -> str:
    return item.other_labels if item.labels != item.other_labels else f"{item.labels}, in another place"


def _speed(report: IngestReport) -> str:
    read = report.samples - report.unchanged
    if not read or not report.bytes_read:
        return f"{report.seconds:.2f} s."
    return (
        f"{report.seconds:.2f} s, {read / report.seconds:,.0f} images/s, "
        f"{report.bytes_read / report.seconds / 1e6:,.0f} MB/s."
    )
