"""One load of a folder, archive, manifest or URL: find what is new, examine it in parallel, write it in batches.

A load goes through these steps, in this order:

1. List the tree and recognise its layout.
2. Look up the files in `raw.files`. Files that moved here from elsewhere get their new URI first, so that they count
   as known; known files that are gone are reported.
3. If nothing has changed, stop: this is what makes loading 10,000 known files again take about a second.
4. Ask the layout for its samples and leave out the unchanged ones.
5. Examine the rest in worker threads (`parallel.py`, `examine.py`) and write them in batches of one transaction each.
6. Record the label files and all other files, last of all: only then is every sample that depends on a label file up
   to date with it. A load that is killed before this step therefore reads them again, and ends as one clean load would.

With --line, --station or --product, inspections whose files are not read again are corrected by what they state, too.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from models_py.errors import LayoutError
from models_py.ingest.archive import is_archive, unpacked
from models_py.ingest.contradictions import find_contradictions
from models_py.ingest.examine import ExaminationContext, describe
from models_py.ingest.known_files import KnownFile, free_names, known_files, vanished
from models_py.ingest.masks import MaskStore
from models_py.ingest.moved_files import follow_moved
from models_py.ingest.new_rows import Row, RowCounts
from models_py.ingest.options import IngestOptions, IngestReport
from models_py.ingest.other_files import is_current, is_entry_current, is_text, left_over
from models_py.ingest.parallel import examine_in_parallel
from models_py.ingest.relocate import FolderMove
from models_py.layouts import (
    Layout,
    LocalStore,
    Reject,
    RemoteStore,
    Sample,
    Tree,
    layout_named,
    recognise,
)
from models_py.warehouse.location import stored_uris

if TYPE_CHECKING:
    import duckdb

_NAMED = 3
"""How many vanished files a report names."""


Progress = Callable[[int, int, int], None]
"""Called with samples done, samples in all, and bytes read so far."""

Announce = Callable[[type[Layout], str], None]
"""Called once the layout is known, with the evidence."""


def _no_progress(done: int, total: int, size: int) -> None:
    """The default for `progress`: do nothing."""


def _no_announcement(layout: type[Layout], evidence: str) -> None:
    """The default for `announce`: do nothing."""


def open_tree(path: str, files: Path) -> Tree:
    """List a folder, an archive (unpacked below `files`), a single file or a URL."""
    if "://" in path and not path.startswith("file://"):
        return Tree(RemoteStore(path))
    local = Path(path.removeprefix("file://")).expanduser()
    if not local.exists():
        raise LayoutError(f"There is nothing at {str(local)!r}. Name a folder, an archive, a manifest or a URL.")
    if local.is_dir():
        return Tree(LocalStore(str(local)))
    if is_archive(local.name) and local.is_file():
        return Tree(LocalStore(str(unpacked(local, files / "unpacked"))))
    return Tree(LocalStore(str(local.parent), only=local.name))


def ingest(
    con: duckdb.DuckDBPyConnection,
    tree: Tree,
    files: Path,
    options: IngestOptions | None = None,
    *,
    announce: Announce = _no_announcement,
    progress: Progress = _no_progress,
) -> IngestReport:
    """Load what is new or changed below a tree; a load that was killed can simply be run again."""
    from models_py.ingest.write import correct, write

    started = time.perf_counter()
    options = options or IngestOptions()
    tree.uris = stored_uris(con)
    kind, evidence = _choose_layout(tree, options.layout)
    announce(kind, evidence)
    command = _command(tree, options)
    paths = {tree.uri(path): path for path in tree.files if is_text(path)}
    known, moved = _look_up(con, tree, paths, command)
    listed = paths if tree.listed is tree.files else {tree.uri(path) for path in tree.listed if is_text(path)}
    lost = vanished(con, listed, tree.store.prefixes, tree.uris)

    def report(samples: int, unchanged: int, others: int, added: RowCounts, size: int) -> IngestReport:
        seconds = time.perf_counter() - started
        first = tuple(lost[:_NAMED])
        return IngestReport(
            tree.root, kind.name, evidence, samples, unchanged, others, added, size, seconds, moved, len(lost), first
        )

    if kind.is_closed and not options.again and not options.stated and _all_current(tree, paths, known, kind.name):
        count = sum(entry.role in {"image", "rejected"} for entry in known.values())
        return report(count, count, 0, RowCounts(), 0)
    layout = kind(tree, options.columns)
    items = list(_once_each(tree, layout.samples()))
    samples = [item for item in items if isinstance(item, Sample)]
    if not kind.is_closed:  # a manifest names files that the tree does not list
        paths |= {tree.uri(path): path for sample in samples for path in _files_of(sample)}
        known, more = _look_up(con, tree, paths, command)
        moved += more
    todo = [sample for sample in samples if options.again or not _is_unchanged(sample, tree, known, kind.name)]
    names = free_names(con, paths.keys() - known.keys())
    context = _context(layout, known, names, MaskStore(files / "masks", tree.uris), options)
    progress(0, len(todo), 0)
    added, size, several = RowCounts(), 0, list[str]()
    if options.stated:
        added += correct(con, _stated(samples, todo, context), command)
    for done, rows in examine_in_parallel(todo, context, options.workers):
        added += write(con, rows, command)
        size += rows.bytes_read
        several += rows.several_frames
        progress(done, len(todo), size)
    rest = left_over(tree, items, context, options.patience)
    added += write(con, rest, command)
    others = sum(row[3] == "other" for row in rest.files.values())
    read = filter(is_text, (path for sample in todo for path in _images_of(sample)))
    contradictions = find_contradictions(con, set(map(tree.uri, read)))
    counts = report(len(samples), len(samples) - len(todo), others, added, size)
    return replace(counts, several_frames=tuple(dict.fromkeys(several)), contradictions=contradictions)


def _command(tree: Tree, options: IngestOptions) -> str:
    """This load as a command line, for raw.superseded_inspections."""
    only = next(iter(tree.listed)) if len(tree.listed) == 1 else ""
    flags = (f"--{name} {shlex.quote(value)}" for name, value in options.stated.items())
    return " ".join(("ingest", shlex.quote(tree.full_uri(only) if only else tree.root), *flags))


def _look_up(
    con: duckdb.DuckDBPyConnection, tree: Tree, paths: dict[str, str], command: str
) -> tuple[dict[str, KnownFile], tuple[FolderMove, ...]]:
    """The entries of the files in `raw.files`, after files that moved here have got their new URI."""
    known = known_files(con, paths)
    moved = follow_moved(con, tree, paths, known, command)
    return (known_files(con, paths) if moved else known), tuple(moved)


def _once_each(tree: Tree, items: Iterable[Sample | Reject]) -> Iterator[Sample | Reject]:
    """Replace a sample whose image was listed already, under a link, by a reject that says so."""
    first: dict[str, str] = {}
    for item in items:
        if isinstance(item, Sample) and (known := first.setdefault(tree.uri(item.image), item.image)) != item.image:
            yield Reject(
                item.image, f"{item.image} is the same file as {known}, which is loaded; a file has one inspection"
            )
        else:
            yield item


def _stated(samples: Sequence[Sample], todo: Sequence[Sample], context: ExaminationContext) -> dict[str, Row]:
    """Rows with the values of the options, for inspections whose files are not read again."""
    read = {sample.image for sample in todo}
    rows: dict[str, Row] = {}
    for sample in samples:
        entry = None if sample.image in read else context.known.get(uri := context.layout.tree.uri(sample.image))
        if entry is not None and entry.sha256 is not None and sample.inspected:
            row = describe(sample, uri, entry.sha256, context)
            rows[row[0]] = row
    return rows


def _choose_layout(tree: Tree, name: str | None) -> tuple[type[Layout], str]:
    if name is None:
        return recognise(tree)
    layout = layout_named(name)
    return layout, layout.recognise(tree) or "as asked by --layout"


def _context(
    layout: Layout, known: dict[str, KnownFile], names: dict[str, str], masks: MaskStore, options: IngestOptions
) -> ExaminationContext:
    return ExaminationContext(
        layout=layout,
        known=known,
        masks=masks,
        free_names=names,
        limits=options.limits,
        times=options.times,
        source=options.source or layout.name,
        line_id=options.line_id,
        station_id=options.station_id,
        product_type=options.product_type,
        classes=frozenset(options.classes),
        patience=options.patience,
        again=options.again,
    )


def _images_of(sample: Sample) -> Iterator[str]:
    yield sample.image
    if sample.template is not None:
        yield sample.template


def _files_of(sample: Sample) -> Iterator[str]:
    yield from _images_of(sample)
    yield from sample.sources


def _all_current(tree: Tree, paths: Mapping[str, str], known: Mapping[str, KnownFile], layout: str) -> bool:
    """Whether nothing in a tree has changed; a file whose name is not valid UTF-8 is never recorded, so it is new."""
    return all(is_entry_current(known.get(uri), tree.stat(path), layout) for uri, path in paths.items()) and all(
        map(is_text, tree.files)
    )


def _is_unchanged(sample: Sample, tree: Tree, known: dict[str, KnownFile], layout: str) -> bool:
    return all(is_current(path, tree, known, layout) for path in _files_of(sample))
