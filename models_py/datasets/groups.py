"""Find the groups of images that a split must keep together, so that validation images are new to the model.

Two images are in one group if they show the same unit, have the same template (golden board) or the same bytes,
directly or through other images: with units A = {1, 2} and B = {2, 3}, images 1, 2 and 3 are one group. That is a
union-find over images and units. Units come from the query and, where the warehouse knows the image, from its
inspections as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from models_py.datasets.contents import has_raw

if TYPE_CHECKING:
    import duckdb


def find_groups(con: duckdb.DuckDBPyConnection, units: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """The group of each image; `units` has the units that the query names for each image's hash."""
    sets = _DisjointSets()
    for sha256, its_units in units.items():
        sets.join(f"image {sha256}", *(f"unit {unit}" for unit in its_units))
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
            sets.join(f"image {image_id}", f"unit {unit}")
        for image_id, template in templates:
            sets.join(f"image {image_id}", f"image {template}")
    return {sha256: sets.root(f"image {sha256}") for sha256 in units}


class _DisjointSets:
    """Union-find. The name of a set is its smallest member, so that it does not depend on the order of joining."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, item: str) -> str:
        while (parent := self._parent.setdefault(item, item)) != item:
            self._parent[item] = self._parent[parent]  # shortens the path for later look-ups
            item = parent
        return item

    def join(self, first: str, *others: str) -> None:
        for other in others:
            low, high = sorted((self.root(first), self.root(other)))
            self._parent[high] = low
