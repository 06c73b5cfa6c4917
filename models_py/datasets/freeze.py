"""Freeze a query's rows: check columns, gather the rows of each image, hash files, find groups, split."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from models_py.datasets.contents import Content, Progress, choose, find_hashes, has_raw
from models_py.datasets.gather import ImageRow, counted, gather, named, useless
from models_py.datasets.groups import find_groups
from models_py.datasets.query import QueryRow, run
from models_py.datasets.references import REFERENCE_REMEDY, attach_references
from models_py.datasets.rows import DatasetRow, FrozenDataset
from models_py.datasets.split import assign
from models_py.errors import DuckspectError
from models_py.layouts import GOOD, canonical
from models_py.warehouse.location import StoredUris, stored_uris

if TYPE_CHECKING:
    import duckdb


def freeze(
    con: duckdb.DuckDBPyConnection,
    query: str,
    task: str,
    *,
    validation: float = 0.2,
    test: float = 0.0,
    split: str | None = None,
    seed: int = 0,
    duplicates: str = "refuse",
    references: bool = False,
    progress: Progress | None = None,
) -> FrozenDataset:
    """Run the query and freeze its rows.

    `split` puts every row into one split, as evaluation does. Otherwise the query's column `split` counts; where it is
    missing or null, the share `test` of the units becomes test rows and `validation` of the rest validation rows.
    `duplicates` says which labels of an image count if they contradict each other: refuse, newest or drop. With
    `references` each row gets its reference image, and images that have none are left out. An error names the rows and
    files that cannot be used.
    """
    rows = run(con, query, task)
    images, notes = gather(rows, task)
    if split is None:
        _check_learnable(task, images, rows.rows)
        _check_spelling(label for item in images for label in item.labels)
    uris = stored_uris(con)
    for item, address in zip(images, _addresses(con, uris, [item.image for item in images]), strict=True):
        item.image, item.masks = address, list(map(uris.full, item.masks))
    hashes = find_hashes(
        con, list(dict.fromkeys(uri for item in images for uri in (item.image, *item.masks))), progress
    )
    contents = [Content(item, hashes[item.image], tuple(hashes[mask] for mask in item.masks)) for item in images]
    # Groups are found before duplicates are dropped: the units of all files with the same bytes belong together.
    units: dict[str, set[str]] = defaultdict(set)
    for content in contents:
        units[content.sha256].update(content.item.units)
    groups = find_groups(con, units)
    chosen, contradictions = choose(con, contents, duplicates)
    # Sorted by hash, so that neither the split nor the data set's hash depends on the order of the query's rows.
    dataset_rows = sorted((_dataset_row(content, split, groups) for content in chosen), key=lambda row: row.sha256)
    notes += [*contradictions, *_other_words_for_good(task, dataset_rows)]
    if references:
        dataset_rows, without = _with_references(con, dataset_rows, progress)
        notes += without
    ordered = assign(dataset_rows, validation, seed, test=test, train_on_good=task == "anomaly")
    return FrozenDataset(task, query, ordered, tuple(notes))


def _dataset_row(content: Content, split: str | None, groups: dict[str, str]) -> DatasetRow:
    item = content.item
    return DatasetRow(
        image=item.image,
        sha256=content.sha256,
        split=split or item.split,
        group=groups[content.sha256],
        labels=tuple(item.labels),
        boxes=tuple(item.boxes),
        masks=tuple(item.masks),
        mask_sha256=content.mask_sha256,
        polygons=tuple(item.polygons),
        reference=item.reference,
    )


def _with_references(
    con: duckdb.DuckDBPyConnection, rows: Sequence[DatasetRow], progress: Progress | None
) -> tuple[list[DatasetRow], list[str]]:
    """The rows that have a reference image, each with its hash, and a note about those that have none."""
    uris = stored_uris(con)
    given = [row.reference for row in rows if row.reference]
    full = dict(zip(given, _addresses(con, uris, given), strict=True))
    found = attach_references(con, [replace(row, reference=full.get(row.reference, "")) for row in rows])
    kept = [row for row in found if row.reference]
    without = [row.image for row in found if not row.reference]
    if not kept:
        raise DuckspectError(f"query: none of {counted(len(found), 'image')} has a reference image. {REFERENCE_REMEDY}")
    hashes = find_hashes(con, list(dict.fromkeys(row.reference for row in kept)), progress)
    notes = [f"{counted(len(without), 'image')} left out, which have no reference image: {named(without)}."]
    return [replace(row, reference_sha256=hashes[row.reference]) for row in kept], notes if without else []


def _check_learnable(task: str, images: Sequence[ImageRow], rows: Sequence[QueryRow]) -> None:
    """Refuse rows without any defect where defects are learned, and without any good image for anomaly detection."""
    if task in ("detect", "segment") and not any(item.labels for item in images):
        raise DuckspectError(useless(rows, task))
    if task == "anomaly" and all(item.labels for item in images):
        labels = sorted({label for item in images for label in item.labels})
        raise DuckspectError(
            f"query: anomaly detection learns from good images, but none of {counted(len(images), 'image')} is one: "
            f"they are {', '.join(labels)}. Add images whose label is good."
        )


def _check_spelling(labels: Iterable[str]) -> None:
    """Refuse two labels that differ only in case or blanks: a model cannot learn to tell them apart."""
    counts = Counter(labels)
    spellings: dict[str, list[str]] = defaultdict(list)
    for label in sorted(counts):
        spellings[label.strip().lower()].append(label)
    for same in spellings.values():
        if len(same) > 1:
            both = " and ".join(f"{label!r} ({counts[label]:,})" for label in same)
            raise DuckspectError(
                f"query: the labels {both} differ in case or blanks alone. Write: lower(label) as label"
            )


def _other_words_for_good(task: str, rows: Iterable[DatasetRow]) -> list[str]:
    """Notes about classes such as `ok`, which count as defects because only `good` means defect-free."""
    labels = {label for row in rows for label in row.labels} if task == "classify" else set[str]()
    others = sorted(label for label in labels if label != GOOD and canonical(label) == GOOD)
    return [
        f"The label {label!r} counts as a defect: the label of defect-free images is good. If it means so, write: "
        f"if(label = '{label}', 'good', label) as label"
        for label in others
    ]


def _addresses(con: duckdb.DuckDBPyConnection, uris: StoredUris, images: list[str]) -> list[str]:
    """The path or URL of each image: an image_id is looked up, anything else is a path or URI already."""
    ids = [image for image in images if len(image) == 64 and not os.path.exists(uris.full(image))]
    known: dict[str, str] = {}
    if ids and has_raw(con):
        known = dict(
            con.execute(
                "select image_id, uri from raw.images where image_id in (select unnest(?::varchar[]))", [ids]
            ).fetchall()
        )
    return [uris.full(known.get(image, image)) for image in images]
