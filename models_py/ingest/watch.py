"""Watch a landing folder and load each file once it is completely written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from models_py.errors import LayoutError, WarehouseError
from models_py.ingest.load import Announce, ingest, open_tree
from models_py.ingest.options import IngestOptions, IngestReport
from models_py.layouts import FileStat, Tree

if TYPE_CHECKING:
    import duckdb

Open = Callable[[], AbstractContextManager["duckdb.DuckDBPyConnection"]]

PATIENCE = 60.0
"""Seconds without a change after which an incomplete file is rejected as broken."""


def watch(
    open_warehouse: Open,
    path: str,
    files: Path,
    options: IngestOptions,
    *,
    every: float,
    stop: Event,
    announce: Announce,
    look: Callable[[], None] = lambda: None,
) -> Iterator[IngestReport]:
    """List a folder every so many seconds; yield a report for each load that added or rejected something.

    `look` is called after every listing, whatever it found.

    A file is loaded when two listings in a row show the same size and time. The warehouse is open only while a load has
    something to write, so that others can use it in between; if it is in use, the load happens after the next listing.
    """
    seen: dict[str, FileStat] = {}
    loaded: dict[str, FileStat] = {}
    lost = 0
    options = replace(options, patience=PATIENCE)
    while not stop.is_set():
        tree = open_tree(path, files)
        settled = {name: stat for name, stat in tree.files.items() if _is_settled(stat, seen.get(name), every)}
        seen = tree.files
        if settled and (settled != loaded or _any_young(settled, every)):
            report = _load(open_warehouse, Tree(tree.store, settled, tree.files), files, options, announce)
            if report is not None:
                loaded = settled
                if report.vanished == lost:  # reported before
                    report = replace(report, vanished=0, vanished_files=())
                else:
                    lost = report.vanished
                if report.has_changed or report.vanished:
                    yield report
        look()
        stop.wait(every)


def _is_settled(stat: FileStat, before: FileStat | None, every: float) -> bool:
    return stat == before or (stat.modified_ns is not None and time.time() - stat.modified_ns / 1e9 > 2 * every + 2)


def _any_young(files: dict[str, FileStat], every: float) -> bool:
    """Whether a file is so new that a load may have skipped it as still growing, so another load is needed."""
    limit = time.time() - PATIENCE - 2 * every
    return any(stat.modified_ns is not None and stat.modified_ns / 1e9 > limit for stat in files.values())


def _load(
    open_warehouse: Open, tree: Tree, files: Path, options: IngestOptions, announce: Announce
) -> IngestReport | None:
    try:
        with open_warehouse() as con:
            return ingest(con, tree, files, options, announce=announce)
    except WarehouseError as error:
        if "in use" in str(error):
            return None
        raise
    except LayoutError:
        if options.layout is None and not tree.images:  # no image yet, so no layout can be recognised
            return None
        raise
