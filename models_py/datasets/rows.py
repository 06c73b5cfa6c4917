"""Frozen data sets: their rows, their hash, and the Parquet file in which a model's artifact keeps them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models_py.errors import DuckspectError
from models_py.images.regions import Box, Polygon
from models_py.model.verdict import GOOD


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """One image with its labels: one for each box, else each mask and then each polygon, else its class if known."""

    image: str
    sha256: str
    split: str
    group: str
    labels: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    masks: tuple[str, ...] = ()
    mask_sha256: tuple[str, ...] = ()
    polygons: tuple[Polygon, ...] = ()
    reference: str = ""
    reference_sha256: str = ""

    def renamed(self, name: Callable[[str], str]) -> DatasetRow:
        """The same rows, with other names of the files."""
        reference = name(self.reference) if self.reference else ""
        return replace(self, image=name(self.image), masks=tuple(map(name, self.masks)), reference=reference)

    @property
    def has_mask(self) -> bool:
        """Whether the pixels of its defects are known."""
        return bool(self.masks or self.polygons)

    @property
    def label(self) -> str:
        """The class of the image: its first defect, else good."""
        return next((label for label in self.labels if label != GOOD), GOOD)

    @property
    def is_defective(self) -> bool:
        return self.label != GOOD


@dataclass(frozen=True)
class FrozenDataset:
    """Frozen rows, ordered by the hash of the image, so that the order of the query's rows does not matter."""

    task: str
    query: str
    rows: tuple[DatasetRow, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)
    """Sentences about rows of the query that were left out; not written to the file."""

    @cached_property
    def sha256(self) -> str:
        """Hash of image contents, labels and splits, but not of paths: it stays when files move."""
        digest = hashlib.sha256(self.task.encode())
        for item in self.rows:
            row = _as_dict(item) | {"image": None, "masks": None}
            del row["reference"]
            for later in ("polygons", "reference_sha256"):
                if not row[later]:
                    del row[later]  # keeps the hashes of data sets from before there were such
            digest.update(json.dumps(row, sort_keys=True).encode())
        return digest.hexdigest()

    def renamed(self, name: Callable[[str], str]) -> FrozenDataset:
        """The same rows, with other names of the files."""
        return replace(self, rows=tuple(item.renamed(name) for item in self.rows))

    def part(self, split: str) -> tuple[DatasetRow, ...]:
        return tuple(item for item in self.rows if item.split == split)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes to learn. Only classification has `good`; for other tasks it is the background."""
        labels = {label for item in self.rows for label in item.labels}
        return tuple(sorted(labels if self.task == "classify" else labels - {GOOD}))

    def counts(self, split: str) -> Counter[str]:
        """Images of each class in a split."""
        return Counter(label for item in self.part(split) for label in set(item.labels) or {GOOD})

    def sample(self, split: str, count: int) -> tuple[DatasetRow, ...]:
        """A few rows, spread evenly over the split, defective ones first."""
        items = sorted(self.part(split), key=lambda item: (not item.is_defective, item.sha256))
        step = max(len(items) // count, 1)
        return tuple(items[::step][:count])


def _as_dict(item: DatasetRow) -> dict[str, Any]:
    return {column.name: getattr(item, column.name) for column in fields(item)}


_SCHEMA = pa.schema(
    {
        "image": pa.string(),
        "sha256": pa.string(),
        "split": pa.string(),
        "group": pa.string(),
        "labels": pa.list_(pa.string()),
        "boxes": pa.list_(pa.list_(pa.float64())),
        "masks": pa.list_(pa.string()),
        "mask_sha256": pa.list_(pa.string()),
        "polygons": pa.list_(pa.list_(pa.list_(pa.float64()))),
        "reference": pa.string(),
        "reference_sha256": pa.string(),
    }
)


def write_parquet(dataset: FrozenDataset, file: Path) -> None:
    """Write the rows, with the query and task as the file's metadata."""
    rows = [_as_dict(item) for item in dataset.rows]
    table = pa.Table.from_pylist(rows, schema=_SCHEMA.with_metadata({"task": dataset.task, "query": dataset.query}))
    pq.write_table(table, file, compression="zstd")


def read_parquet(file: Path) -> FrozenDataset:
    """Read rows that `write_parquet` wrote; raises if the file is missing or damaged."""
    try:
        table = pq.read_table(file)
        metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        return FrozenDataset(metadata["task"], metadata["query"], tuple(_dataset_rows(table.to_pylist())))
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DuckspectError(f"{file}: the rows kept with the model cannot be read: {error}") from error


def _dataset_rows(rows: Iterable[dict[str, Any]]) -> Iterator[DatasetRow]:
    for row in rows:
        for column in ("labels", "masks", "mask_sha256"):
            row[column] = tuple(row.get(column) or ())  # files of older versions lack mask_sha256 and polygons
        row["boxes"] = tuple((box[0], box[1], box[2], box[3]) for box in row["boxes"])
        row["polygons"] = tuple(tuple(map(tuple, polygon)) for polygon in row.get("polygons") or ())
        yield DatasetRow(**row)
