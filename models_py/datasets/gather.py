"""From rows to images: what a task learns of each image, and what it has no use for, which is counted and said.

A query may give rows of several kinds for one image: its class, boxes, polygons, masks. Each task takes the kinds that
it learns from. A defect of another kind cannot be learned, and an image that has only such is left out: as a good image
it would teach the wrong thing.
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
"""How many files a sentence names."""


@dataclass(slots=True)
class ImageRow:
    """What is said of one image: a label for each box, else for each mask and then each polygon, else its class."""

    image: str
    labels: list[str] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    polygons: list[Polygon] = field(default_factory=list)
    split: str = ""
    units: frozenset[str] = frozenset()
    annotated_at: Any = None

    def take(self, rows: Sequence[QueryRow], place: str) -> None:
        """Add labels with their places, ordered so that the order of the rows does not matter."""
        by_name: dict[str, list[Any]] = {"box": self.boxes, "mask": self.masks, "polygon": self.polygons}
        places = by_name[place]
        for label, found in sorted((str(row.label), getattr(row, place)) for row in rows):
            self.labels.append(label)
            places.append(found)


@dataclass(slots=True)
class _GatheredRows:
    """The images, and what was not used of their rows."""

    images: list[ImageRow] = field(default_factory=list)
    unused: Counter[str] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)
    unlabelled: int = 0


def gather(found: QueryRows, task: str) -> tuple[list[ImageRow], list[str]]:
    """Put the rows of each image together; return the images, and sentences about what was left out.

    An image with two classes comes twice, as files with the same bytes do.
    """
    rows = [row for row in found.rows if row.is_gold]
    by_image: dict[str, list[QueryRow]] = defaultdict(list)
    for row in rows:
        by_image[row.image].append(row)
    taken = _GatheredRows()
    for image, its_rows in by_image.items():
        for item in _TASKS[task](image, its_rows, taken):
            item.split, item.units = _only_split(image, its_rows), frozenset(row.unit for row in its_rows if row.unit)
            taken.images.append(item)
    if not taken.images:
        raise DuckspectError(useless(rows, task))
    notes = list(_notes(taken, task, has_labels=found.has_labels))
    if outdated := len(found.rows) - len(rows):
        notes.append(f"{counted(outdated, 'row')} left out: later reviews took their place (is_gold is false).")
    if repeated := _repeated(rows, task):
        notes.append(f"{counted(repeated, 'row')} more than once: the same image, label and place. Check joins.")
    return taken.images, notes


def useless(rows: Sequence[QueryRow], task: str) -> str:
    """Say that a task can learn nothing from these rows, and which could."""
    kinds = Counter(row.kind if row.label else "unlabelled" for row in rows)
    found = ", ".join(counted(kinds[kind], f"{kind} row") for kind in _TEACHES if kinds[kind])
    if task == "classify":
        return f"query: no row has a label: {found}. Add labels, or use --task anomaly, which needs none."
    tasks = dict.fromkeys(other for kind in _TEACHES if kinds[kind] for other in _TEACHES[kind] if other != task)
    others = " or ".join(f"--task {other}" for other in tasks)
    return f"query: {_LEARNS[task]}, but no row has one: {found}. Use {others}, or rows such as: {EXAMPLES[task]}"


def is_good(label: str | None) -> bool:
    """Whether a label without a place says that an image is free of defects; none says nothing of a defect."""
    return label is None or canonical(label) == GOOD


def _classified(image: str, rows: list[QueryRow], found: _GatheredRows) -> list[ImageRow]:
    labelled = [row for row in rows if row.label]
    whole = [row for row in labelled if row.kind == "class"] or labelled
    if not whole:
        found.unlabelled += 1
        return []
    labels = {str(row.label): row.annotated_at for row in sorted(whole, key=_age)}
    found.unused.update(row.kind for row in labelled if row.label not in labels)
    return [ImageRow(image, [label], annotated_at=when) for label, when in sorted(labels.items())]


def _age(row: QueryRow) -> tuple[bool, Any]:
    return row.annotated_at is not None, row.annotated_at


def _detected(image: str, rows: list[QueryRow], found: _GatheredRows) -> list[ImageRow]:
    boxes = [row for row in rows if row.box]
    if nameless := next((row for row in boxes if not row.label), None):
        raise DuckspectError(f"query: row {nameless.number} ({image}) has a box without a label.")
    return _placed(image, rows, found, box=boxes)


def _segmented(image: str, rows: list[QueryRow], found: _GatheredRows) -> list[ImageRow]:
    defects = [row for row in rows if not is_good(row.label)]
    masks = [row for row in defects if row.mask]
    return _placed(image, rows, found, mask=masks, polygon=[row for row in defects if row.polygon and not row.mask])


def _placed(image: str, rows: list[QueryRow], found: _GatheredRows, **places: list[QueryRow]) -> list[ImageRow]:
    item = ImageRow(image, annotated_at=max(rows, key=_age).annotated_at)
    for place, taken in places.items():
        item.take(taken, place)
    used = {row.number for taken in places.values() for row in taken}
    others = [row for row in rows if row.number not in used and not is_good(row.label)]
    if others and not item.labels:
        found.left_out.append(image)
        return []
    found.unused.update(row.kind for row in others)
    found.unlabelled += all(row.label is None for row in rows)
    return [item]


def _judged(image: str, rows: list[QueryRow], found: _GatheredRows) -> list[ImageRow]:
    """For anomaly detection any defect is one; where masks or polygons are known they say where."""
    if any(row.mask or row.polygon for row in rows if not is_good(row.label)):
        return _segmented(image, rows, _GatheredRows())
    labels = sorted(str(row.label) for row in rows if not is_good(row.label))
    found.unlabelled += all(row.label is None for row in rows)
    return [ImageRow(image, labels, annotated_at=max(rows, key=_age).annotated_at)]


_TASKS = {"classify": _classified, "detect": _detected, "segment": _segmented, "anomaly": _judged}


def _only_split(image: str, rows: Sequence[QueryRow]) -> str:
    splits = {row.split for row in rows if row.split}
    if len(splits) > 1:
        raise DuckspectError(f"query: {image} is in the splits {' and '.join(sorted(splits))}. Choose one.")
    return next(iter(splits), "")


def _repeated(rows: Sequence[QueryRow], task: str) -> int:
    if task not in _PLACES:
        return 0
    said = Counter((row.image, row.label, row.box, row.mask, row.polygon) for row in rows if row.box or row.mask)
    return sum(said.values()) - len(said)


def _notes(found: _GatheredRows, task: str, *, has_labels: bool) -> list[str]:
    notes = [
        f"{counted(found.unused[kind], f'{kind} row')} left out: {_LEARNS[task]}."
        for kind in KINDS
        if found.unused[kind]
    ]
    if found.left_out:
        notes.append(
            f"{counted(len(found.left_out), 'image')} left out, labelled as defective but without {_PLACES[task]}: "
            f"{named(found.left_out)}."
        )
    if found.unlabelled and task == "classify":
        notes.append(f"{counted(found.unlabelled, 'image')} without a label left out.")
    elif found.unlabelled and has_labels:
        notes.append(f"{counted(found.unlabelled, 'image')} without a label taken as good.")
    elif found.unlabelled:
        notes.append(f"The query has no column label: {counted(found.unlabelled, 'image')} taken as good.")
    return notes


def counted(number: int, noun: str) -> str:
    """A number of things."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def named(files: Sequence[str]) -> str:
    """The first few names."""
    return ", ".join(files[:NAMED]) + (f" and {len(files) - NAMED:,} more" if len(files) > NAMED else "")
