"""One pass over a folder, archive, manifest or URL: find what is new, examine it in parallel, write it in batches."""

from __future__ import annotations

import os
import shlex
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from models_py.errors import LayoutError
from models_py.images import ImageLimits
from models_py.ingest.archive import is_archive, unpacked
from models_py.ingest.contradictions import Contradiction, find_contradictions
from models_py.ingest.examine import ExaminationContext, describe, examine
from models_py.ingest.known_files import KnownFile, free_names, remembered, vanished
from models_py.ingest.masks import MaskStore
from models_py.ingest.moved_files import follow_moved
from models_py.ingest.new_rows import NewRows, Row, RowCounts
from models_py.ingest.other_files import is_current, is_entry_current, is_text, left_over
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
from models_py.times import TimeLimits
from models_py.warehouse.location import stored_uris

if TYPE_CHECKING:
    import duckdb

_CHUNK = 64
_BATCH = 4096
_NAMED = 3
"""How many vanished files a report names."""
_SMALL_FILE = 200_000
"""Bytes up to which one thread reads and hashes faster than several that wait for the interpreter's lock."""


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How a pass reads its images and what it says of them where the layout does not."""

    layout: str | None = None
    line_id: str | None = None
    station_id: str | None = None
    product_type: str | None = None
    source: str | None = None
    classes: tuple[str, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)
    limits: ImageLimits = field(default_factory=ImageLimits)
    times: TimeLimits = field(default_factory=TimeLimits)
    workers: int | None = None
    again: bool = False
    patience: float = 0.0
    """Seconds for which an incomplete file may still be growing, and is left for the next pass."""

    @property
    def stated(self) -> dict[str, str]:
        """What is said of every inspection, by the name of its option."""
        said = {"line": self.line_id, "station": self.station_id, "product": self.product_type}
        return {name: value for name, value in said.items() if value}


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What one pass found and did."""

    root: str
    layout: str
    evidence: str
    samples: int
    unchanged: int
    other_files: int
    added: RowCounts
    bytes_read: int
    seconds: float
    moved: tuple[FolderMove, ...] = ()
    vanished: int = 0
    vanished_files: tuple[str, ...] = ()
    """The first few of those that vanished."""
    several_frames: tuple[str, ...] = ()
    """Files read in this pass of which the first frame is used."""
    contradictions: tuple[Contradiction, ...] = ()
    """Files of this pass whose bytes have other labels under another name."""

    @property
    def has_changed(self) -> bool:
        """Whether the pass wrote anything that readers see."""
        return self.bytes_read > 0 or bool(self.moved) or any(astuple(self.added))


Progress = Callable[[int, int, int], None]
"""Called with samples done, samples in all, and bytes read so far."""

Announce = Callable[[type[Layout], str], None]
"""Called once the layout is known, with the evidence."""


def _no_progress(done: int, total: int, size: int) -> None:
    """Be silent."""


def _no_announcement(layout: type[Layout], evidence: str) -> None:
    """Be silent."""


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
    """Load what is new or changed below a tree; run again after a kill, it ends as one clean run would."""
    from models_py.ingest.write import correct, write

    started = time.perf_counter()
    options = options or IngestOptions()
    tree.uris = stored_uris(con)
    kind, evidence = _choose(tree, options.layout)
    announce(kind, evidence)
    command = _command(tree, options)
    paths = {tree.uri(path): path for path in tree.files if is_text(path)}
    known, moved = _recall(con, tree, paths, command)
    there = paths if tree.listed is tree.files else {tree.uri(path) for path in tree.listed if is_text(path)}
    lost = vanished(con, there, tree.store.prefixes, tree.uris)

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
    found = list(_once_each(tree, layout.samples()))
    samples = [item for item in found if isinstance(item, Sample)]
    if not kind.is_closed:
        paths |= {tree.uri(path): path for sample in samples for path in _files_of(sample)}
        known, more = _recall(con, tree, paths, command)
        moved += more
    todo = [sample for sample in samples if options.again or not _is_unchanged(sample, tree, known, kind.name)]
    names = free_names(con, paths.keys() - known.keys())
    context = _context(layout, known, names, MaskStore(files / "masks", tree.uris), options)
    progress(0, len(todo), 0)
    added, size, several = RowCounts(), 0, list[str]()
    if options.stated:
        added += correct(con, _stated(samples, todo, context), command)
    for done, rows in _examined(todo, context, options):
        added += write(con, rows, command)
        size += rows.bytes_read
        several += rows.several_frames
        progress(done, len(todo), size)
    rest = left_over(tree, found, context, options.patience)
    added += write(con, rest, command)
    others = sum(row[3] == "other" for row in rest.files.values())
    read = filter(is_text, (path for sample in todo for path in _images_of(sample)))
    contradictions = find_contradictions(con, set(map(tree.uri, read)))
    found_all = report(len(samples), len(samples) - len(todo), others, added, size)
    return replace(found_all, several_frames=tuple(dict.fromkeys(several)), contradictions=contradictions)


def _command(tree: Tree, options: IngestOptions) -> str:
    """What raw.superseded_inspections says of this load."""
    only = next(iter(tree.listed)) if len(tree.listed) == 1 else ""
    said = (f"--{name} {shlex.quote(value)}" for name, value in options.stated.items())
    return " ".join(("ingest", shlex.quote(tree.full_uri(only) if only else tree.root), *said))


def _recall(
    con: duckdb.DuckDBPyConnection, tree: Tree, paths: dict[str, str], command: str
) -> tuple[dict[str, KnownFile], tuple[FolderMove, ...]]:
    """What is known of files, those among them that have moved here included."""
    known = remembered(con, paths)
    moved = follow_moved(con, tree, paths, known, command)
    return (remembered(con, paths) if moved else known), tuple(moved)


def _once_each(tree: Tree, found: Iterable[Sample | Reject]) -> Iterator[Sample | Reject]:
    """Leave out an image that is met a second time under a link, and say so."""
    first: dict[str, str] = {}
    for item in found:
        if isinstance(item, Sample) and (known := first.setdefault(tree.uri(item.image), item.image)) != item.image:
            yield Reject(
                item.image, f"{item.image} is the same file as {known}, which is loaded; a file has one inspection"
            )
        else:
            yield item


def _stated(samples: Sequence[Sample], todo: Sequence[Sample], context: ExaminationContext) -> dict[str, Row]:
    """What the options say of inspections whose files are not read again."""
    read = {sample.image for sample in todo}
    rows: dict[str, Row] = {}
    for sample in samples:
        entry = None if sample.image in read else context.known.get(uri := context.layout.tree.uri(sample.image))
        if entry is not None and entry.sha256 is not None and sample.inspected:
            row = describe(sample, uri, entry.sha256, context)
            rows[row[0]] = row
    return rows


def _choose(tree: Tree, name: str | None) -> tuple[type[Layout], str]:
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
    """Whether nothing in a tree has changed; a file whose name is no text is never remembered."""
    return all(is_entry_current(known.get(uri), tree.stat(path), layout) for uri, path in paths.items()) and all(
        map(is_text, tree.files)
    )


def _is_unchanged(sample: Sample, tree: Tree, known: dict[str, KnownFile], layout: str) -> bool:
    return all(is_current(path, tree, known, layout) for path in _files_of(sample))


def _workers(tree: Tree, todo: Sequence[Sample], asked: int | None) -> int:
    if asked is not None:
        return max(1, asked)
    if "://" in tree.root:
        return 16  # waiting for a network, not for a processor
    stats = [stat for sample in todo[:: max(1, len(todo) // 200)] if (stat := tree.stat(sample.image))]
    mean = sum(stat.size for stat in stats) / max(1, len(stats))
    return 1 if mean < _SMALL_FILE else max(2, os.cpu_count() or 2)


def _examined(
    todo: Sequence[Sample], context: ExaminationContext, options: IngestOptions
) -> Iterator[tuple[int, NewRows]]:
    """Examine samples in workers; yield batches in order, with the number of samples covered so far.

    Order matters: the first of two equal files names the image, in every run. Few chunks wait to be written.
    """
    done, batch = 0, NewRows()
    workers = _workers(context.layout.tree, todo, options.workers)
    chunks = (todo[start : start + _CHUNK] for start in range(0, len(todo), _CHUNK))
    with ThreadPoolExecutor(workers, "ingest") as executor:
        waiting: deque[Future[NewRows]] = deque()
        try:
            for chunk in chunks:
                waiting.append(executor.submit(examine, chunk, context))
                if len(waiting) >= 4 * workers + _BATCH // _CHUNK:
                    batch.add(waiting.popleft().result())
                if batch.samples >= _BATCH:
                    done += batch.samples
                    yield done, batch
                    batch = NewRows()
            while waiting:
                batch.add(waiting.popleft().result())
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
    if batch.samples:
        yield done + batch.samples, batch
