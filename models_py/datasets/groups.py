"""What must stay on one side of a split: images of one unit, of one template, or with the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from models_py.datasets.contents import has_raw

if TYPE_CHECKING:
    import duckdb


def find_groups(con: duckdb.DuckDBPyConnection, units: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """The group of each image, given by hash with the units that the query names; the warehouse knows of more."""
    forest = _Forest()
    for sha256, its_units in units.items():
        forest.join(f"image {sha256}", *(f"unit {unit}" for unit in its_units))
    if has_raw(con):
        ids = list(units)
        inspected = con.execute(
            "select image_id, unit_id from raw.inspections where image_id in (select unnest(?::varchar[]))", [ids]
        ).fetchall()
        templates = con.execute(
            "select image_id, template_image_id from raw.templates where image_id in (select unnest(?::varchar[]))",
            [ids],
        ).fetchall()
        for image_id, unit in inspected:
            forest.join(f"image {image_id}", f"unit {unit}")
        for image_id, template in templates:
            forest.join(f"image {image_id}", f"image {template}")
    return {sha256: forest.root(f"image {sha256}") for sha256 in units}


class _Forest:
    """Disjoint sets; the name of a set is its smallest member, whatever the order of joining."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, item: str) -> str:
        while (parent := self._parent.setdefault(item, item)) != item:
            self._parent[item] = self._parent[parent]
            item = parent
        return item

    def join(self, first: str, *others: str) -> None:
        for other in others:
            low, high = sorted((self.root(first), self.root(other)))
            self._parent[high] = low
