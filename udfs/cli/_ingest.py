"""What `duckspect ingest` shows while it works and when it is done."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from threading import Event

from models_py.errors import DuckspectError
from models_py.ingest import (
    Contradiction,
    FolderMove,
    IngestOptions,
    IngestReport,
    RowCounts,
    ingest,
    open_tree,
    relocate,
    watch,
)
from models_py.layouts import Layout
from models_py.warehouse.database import files_folder, warehouse_path
from udfs import connect
from udfs.builds.build import published_path
from udfs.cli.output import emit, emit_json, note
from udfs.cli.progress import display
from udfs.cli.published_copy import SparePublisher, leave_copy

_NAMED = 5
"""How many moves and files are shown one by one."""


def columns_of(pairs: Sequence[str]) -> dict[str, str]:
    """Read `ours=theirs` pairs of `--column`."""
    found = {}
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not equals or not ours or not theirs:
            raise DuckspectError(f"--column: must be NAME=YOURS, such as uri=image_path, but got {pair!r}.")
        found[ours.strip()] = theirs.strip()
    return found


def announce(layout: type[Layout], evidence: str) -> None:
    note(f"Recognised {layout.title}: {evidence}.")


def load(path: str, warehouse: Path | None, options: IngestOptions) -> IngestReport:
    """Run one pass with a progress bar."""
    files = files_folder(warehouse)
    tree = open_tree(path, files)
    with connect(warehouse) as con, display() as shown:
        shown.update("Listing files")

        def progress(done: int, total: int, _: int) -> None:
            shown.update("Reading", done, total)

        return ingest(con, tree, files, options, announce=announce, progress=progress)


def load_once(path: str, warehouse: Path | None, options: IngestOptions, *, publishing: bool, as_json: bool) -> None:
    """Run one pass, say what it did, and leave readers a copy if anything is new to them."""
    report = load(path, warehouse, options)
    show(report, warehouse, as_json=as_json)
    if publishing and (report.has_changed or not published_path(warehouse).exists()):
        leave_copy(warehouse)


def load_forever(
    path: str,
    warehouse: Path | None,
    options: IngestOptions,
    every: float,
    publish_every: float | None,
    *,
    as_json: bool,
) -> None:
    """Watch a folder until Ctrl-C or SIGTERM; readers get a copy now and then, none if `publish_every` is None."""
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


def relocate_files(old: str, new: str, warehouse: Path | None, *, force: bool, publishing: bool, as_json: bool) -> None:
    """Follow files that the user moved."""
    with connect(warehouse) as con, display() as shown:

        def progress(done: int, total: int) -> None:
            shown.update("Comparing", done, total, "files")

        moved = relocate(con, old, new, force=force, progress=progress)
    if as_json:
        emit_json({**asdict(moved), "warehouse": str(warehouse_path(warehouse))})
    else:
        show_move(moved)
        emit("Rows that name them: " + ", ".join(f"{count:,} of {table}" for table, count in moved.rows.items()) + ".")
        if moved.missing:
            emit(f"{moved.missing:,} of them are not there.")
    if publishing:
        leave_copy(warehouse)


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
