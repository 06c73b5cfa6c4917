"""Gather the rows of each image, take what the task can learn from, and report in notes what was left out.

A query may give rows of several kinds for one image: its class, boxes, polygons, masks. Each task takes the kinds that
it learns from. An image whose defects are all of other kinds is left out: without labels it would count as good and
teach the wrong thing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from models_py.datasets.query import EXAMPLES, KINDS, QueryRow, QueryRows
from models_py.errors import DuckspectError
from models_py.images.regions import Box, Polygon
from models_py.layouts import GOOD, canonical

_LEARNS = {
    "classify": "classification learns from class rows where an image has them",
    "detect": "detection learns from boxes and polygons",
    "segment": "segmentation learns from masks and polygons",
    "anomaly": "anomaly detection learns from good images",
}
_PLACES = {"detect": "box or polygon", "segment": "mask or polygon"}
_TEACHES = {
    "mask": ("segment",),
    "polygon": ("segment", "detect"),
    "box": ("detect",),
    "class": ("classify", "anomaly"),
    "unlabelled": ("anomaly",),
}
"""Which tasks learn from each kind of row, the best first."""
NAMED = 5
"""How many files a message names at most."""


@dataclass(slots=True)
class ImageRow:
    """The labels of one image: one for each box, else for each mask and then each polygon, else its class."""

    image: str
    labels: list[str] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    polygons: list[Polygon] = field(default_factory=list)
    split: str = ""
    units: frozenset[str] = frozenset()
    annotated_at: Any = None
    reference: str = ""

    def take(self, rows: Sequence[QueryRow], place: str) -> None:
        """Add labels with their places, ordered so that the order of the rows does not matter."""
        by_name: dict[str, list[Any]] = {"box": self.boxes, "mask": self.masks, "polygon": self.polygons}
        places = by_name[place]
        for label, where in sorted((str(row.label), getattr(row, place)) for row in rows):
            self.labels.append(label)
            places.append(where)


@dataclass(slots=True)
class _GatheredRows:
    """The images, and counts of the rows that were not used."""

    images: list[ImageRow] = field(default_factory=list)
    unused: Counter[str] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)
    unlabelled: int = 0


def gather(query_rows: QueryRows, task: str) -> tuple[list[ImageRow], list[str]]:
    """Gather the rows of each image; return the images, and notes about what was left out.

    An image with two classes is returned twice, as two files with the same bytes are.
    """
    rows = [row for row in query_rows.rows if row.is_gold]
    by_image: dict[str, list[QueryRow]] = defaultdict(list)
    for row in rows:
        by_image[row.image].append(row)
    gathered = _GatheredRows()
    for image, its_rows in by_image.items():
        for item in _TASKS[task](image, its_rows, gathered):
            item.split, item.units = _only_split(image, its_rows), frozenset(row.unit for row in its_rows if row.unit)
            item.reference = _only_reference(image, its_rows)
            gathered.images.append(item)
    if not gathered.images:
        raise DuckspectError(useless(rows, task))
    notes = list(_notes(gathered, task, has_labels=query_rows.has_labels))
    if outdated := len(query_rows.rows) - len(rows):
        notes.append(f"{counted(outdated, 'row')} left out: later reviews took their place (is_gold is false).")
    if repeated := _repeated(rows, task):
        notes.append(f"{counted(repeated, 'row')} more than once: the same image, label and place. Check joins.")
    return gathered.images, notes


def useless(rows: Sequence[QueryRow], task: str) -> str:
    """The message that a task can learn nothing from these rows, and which tasks can."""
    kinds = Counter(row.kind if row.label else "unlabelled" for row in rows)
    found = ", ".join(counted(kinds[kind], f"{kind} row") for kind in _TEACHES if kinds[kind])
    if task == "classify":
        return f"query: no row has a label: {found}. Add labels, or use --task anomaly, which needs none."
    tasks = dict.fromkeys(other for kind in _TEACHES if kinds[kind] for other in _TEACHES[kind] if other != task)
    others = " or ".join(f"--task {other}" for other in tasks)
    return f"query: {_LEARNS[task]}, but no row has one: {found}. Use {others}, or rows such as: {EXAMPLES[task]}"


def is_good(label: str | None) -> bool:
    """Whether a label names no defect: it is missing, or a word for good."""
    return label is None or canonical(label) == GOOD


def _for_classification(image: str, rows: list[QueryRow], gathered: _GatheredRows) -> list[ImageRow]:
    labelled = [row for row in rows if row.label]
    classes = [row for row in labelled if row.kind == "class"] or labelled
    if not classes:
        gathered.unlabelled += 1
        return []
    labels = {str(row.label): row.annotated_at for row in sorted(classes, key=_age)}
    gathered.unused.update(row.kind for row in labelled if row.label not in labels)
    return [ImageRow(image, [label], annotated_at=when) for label, when in sorted(labels.items())]


def _age(row: QueryRow) -> tuple[bool, Any]:
    return row.annotated_at is not None, row.annotated_at


def _for_detection(image: str, rows: list[QueryRow], gathered: _GatheredRows) -> list[ImageRow]:
    boxes = [row for row in rows if row.box]
    if nameless := next((row for row in boxes if not row.label), None):
        raise DuckspectError(f"query: row {nameless.number} ({image}) has a box without a label.")
    return _with_places(image, rows, gathered, box=boxes)


def _for_segmentation(image: str, rows: list[QueryRow], gathered: _GatheredRows) -> list[ImageRow]:
    defects = [row for row in rows if not is_good(row.label)]
    masks = [row for row in defects if row.mask]
    polygons = [row for row in defects if row.polygon and not row.mask]
    return _with_places(image, rows, gathered, mask=masks, polygon=polygons)


def _with_places(image: str, rows: list[QueryRow], gathered: _GatheredRows, **places: list[QueryRow]) -> list[ImageRow]:
    """The image with the labels of these rows; none if it is defective but has none of the places needed."""
    item = ImageRow(image, annotated_at=max(rows, key=_age).annotated_at)
    for place, its_rows in places.items():
        item.take(its_rows, place)
    used = {row.number for its_rows in places.values() for row in its_rows}
    others = [row for row in rows if row.number not in used and not is_good(row.label)]
    if others and not item.labels:
        gathered.left_out.append(image)
        return []
    gathered.unused.update(row.kind for row in others)
    gathered.unlabelled += all(row.label is None for row in rows)
    return [item]


def _for_anomaly(image: str, rows: list[QueryRow], gathered: _GatheredRows) -> list[ImageRow]:
    """For anomaly detection the kind of a defect does not matter; masks or polygons are kept where there are any."""
    if any(row.mask or row.polygon for row in rows if not is_good(row.label)):
        return _for_segmentation(image, rows, _GatheredRows())
    labels = sorted(str(row.label) for row in rows if not is_good(row.label))
    gathered.unlabelled += all(row.label is None for row in rows)
    return [ImageRow(image, labels, annotated_at=max(rows, key=_age).annotated_at)]


_TASKS = {
    "classify": _for_classification,
    "detect": _for_detection,
    "segment": _for_segmentation,
    "anomaly": _for_anomaly,
}


def _only_split(image: str, rows: Sequence[QueryRow]) -> str:
    splits = {row.split for row in rows if row.split}
    if len(splits) > 1:
        raise DuckspectError(f"query: {image} is in the splits {' and '.join(sorted(splits))}. Choose one.")
    return next(iter(splits), "")


def _only_reference(image: str, rows: Sequence[QueryRow]) -> str:
    references = {row.reference for row in rows if row.reference}
    if len(references) > 1:
        raise DuckspectError(f"query: {image} has the references {' and '.join(sorted(references))}. Choose one.")
    return next(iter(references), "")


def _repeated(rows: Sequence[QueryRow], task: str) -> int:
    if task not in _PLACES:
        return 0
    counts = Counter((row.image, row.label, row.box, row.mask, row.polygon) for row in rows if row.box or row.mask)
    return sum(counts.values()) - len(counts)


def _notes(gathered: _GatheredRows, task: str, *, has_labels: bool) -> list[str]:
    unused, left_out, unlabelled = gathered.unused, gathered.left_out, gathered.unlabelled
    notes = [f"{counted(unused[kind], f'{kind} row')} left out: {_LEARNS[task]}." for kind in KINDS if unused[kind]]
    if left_out:
        notes.append(
            f"{counted(len(left_out), 'image')} left out, labelled as defective but without {_PLACES[task]}: "
            f"{named(left_out)}."
        )
    if unlabelled and task == "classify":
        notes.append(f"{counted(unlabelled, 'image')} without a label left out.")
    elif unlabelled and has_labels:
        notes.append(f"{counted(unlabelled, 'image')} without a label taken as good.")
    elif unlabelled:
        notes.append(f"The query has no column label: {counted(unlabelled, 'image')} taken as good.")
    return notes


def counted(number: int, noun: str) -> str:
    """A number with its noun, which gets an s except for 1."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def named(files: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(files[:NAMED]) + (f" and {len(files) - NAMED:,} more" if len(files) > NAMED else "")
