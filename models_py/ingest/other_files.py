"""Record the files that are no samples (label files, rejects, unrelated files), so that they are not read again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from models_py.ingest.examine import ExaminationContext, may_still_grow
from models_py.ingest.known_files import KnownFile
from models_py.ingest.new_rows import NewRows
from models_py.layouts import MISSING, FileStat, Reject, Sample, Tree


def left_over(tree: Tree, items: Sequence[Sample | Reject], context: ExaminationContext, patience: float) -> NewRows:
    """Rows for what is not a sample: label files, rejects of the layout, and files that the layout does not read.

    They must be written last: only then is every sample that depends on a label file up to date with it.
    """
    rows = NewRows()
    for path, listed in tree.files.items():
        if listed.size < 0 and listed != MISSING:  # a pipe, socket or device
            rows.reject(tree.uri(path), listed.version)
    images: set[str] = set()
    sources: set[str] = set()
    for item in items:
        if isinstance(item, Reject):
            stat = tree.stat(item.path)
            if stat is not None and may_still_grow(stat, patience):
                images.add(item.path)  # the file that it belongs to may still arrive: decide in the next load
                continue
            rows.reject(tree.uri(item.path), item.reason)
            sources.add(item.path)
        else:
            images.update((item.image, item.template or item.image))
            sources.update(item.sources)
    _record(rows, tree, context, sources - images, "label")
    _record(rows, tree, context, tree.files.keys() - images - sources, "other")
    for path in images:
        rows.files.pop(tree.uri(path), None)  # the same file, listed again under a link
    return rows


def _record(rows: NewRows, tree: Tree, context: ExaminationContext, paths: Iterable[str], role: str) -> None:
    layout = context.layout.name
    for path in paths:
        stat = tree.stat(path)
        if stat is not None and is_text(path) and not is_current(path, tree, context.known, layout):
            uri = tree.uri(path)
            rows.files[uri] = (uri, stat.size, stat.version, role, None, layout, None, context.first_uri(uri))


def is_text(path: str) -> bool:
    """Whether a file's name is valid UTF-8: Python decodes other bytes as lone surrogates."""
    return path.isascii() or not any("\ud800" <= character <= "\udfff" for character in path)


def is_current(path: str, tree: Tree, known: Mapping[str, KnownFile], layout: str) -> bool:
    """Whether a file has the size and version it had when this layout read it."""
    return is_entry_current(known.get(tree.uri(path)), tree.stat(path), layout)


def is_entry_current(entry: KnownFile | None, stat: FileStat | None, layout: str) -> bool:
    return entry is not None and stat is not None and entry.layout == layout and entry.is_current(stat)
