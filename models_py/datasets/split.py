"""Split rows into train, val and test: deterministic, stratified by class, and whole groups only (see groups.py).

Groups are sorted by a hash of seed and name, and chosen class by class, the rarest class first, until each class has
its share of images held out. Each group's hash depends on nothing else, so new images hardly move old ones to another
split. A class always keeps a group to train on, and a group that is much larger than what is still missing is passed
over.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from models_py.datasets.rows import DatasetRow
from models_py.errors import DuckspectError


def assign(
    rows: Sequence[DatasetRow], validation: float, seed: int, *, test: float = 0.0, train_on_good: bool = False
) -> tuple[DatasetRow, ...]:
    """Give every row a split: its own where it has one, else `test` of the groups, then `validation` of the rest.

    With `train_on_good`, all groups with a defect are held out for testing or validation. A row without a split gets
    that of its group, if one of the group's rows has one.
    """
    given = _given(rows)
    if "val" not in given.values():  # no validation rows given: take them from the given training rows
        given = {group: split for group, split in given.items() if split != "train"}
    open_groups: dict[str, list[DatasetRow]] = defaultdict(list)
    for item in rows:
        if item.group not in given:
            open_groups[item.group].append(item)
    wants_test = test > 0 and "test" not in given.values()
    test_groups = _held_out(open_groups, test, seed, least=0) if wants_test else set()
    given |= dict.fromkeys(test_groups, "test")
    open_groups = {group: items for group, items in open_groups.items() if group not in test_groups}
    if train_on_good:
        defective = {group for group, items in open_groups.items() if any(item.is_defective for item in items)}
        clean = {group: items for group, items in open_groups.items() if group not in defective}
        held_out = defective | _held_out(clean, validation, seed)
    else:
        held_out = _held_out(open_groups, validation, seed)
    return tuple(
        replace(item, split=given.get(item.group) or ("val" if item.group in held_out else "train")) for item in rows
    )


def _given(rows: Iterable[DatasetRow]) -> dict[str, str]:
    """The split of each group in which a row has one; two different ones are an error."""
    given: dict[str, tuple[str, str]] = {}
    for item in rows:
        if not item.split:
            continue
        split, image = given.setdefault(item.group, (item.split, item.image))
        if split != item.split:
            raise DuckspectError(
                f"query: {image} ({split}) and {item.image} ({item.split}) are of one unit or template, "
                f"but in two splits. Put both into one."
            )
    return {group: split for group, (split, _) in given.items()}


def _held_out(groups: dict[str, list[DatasetRow]], share: float, seed: int, *, least: int = 1) -> set[str]:
    """Choose groups class by class, the rarest first, until each class has its share, but at least `least` images."""
    images = Counter(label for items in groups.values() for item in items for label in _kinds(item))
    by_kind: dict[str, list[str]] = defaultdict(list)
    sizes: dict[str, Counter[str]] = {}
    for group in sorted(groups, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest()):
        sizes[group] = Counter(kind for item in groups[group] for kind in _kinds(item))
        for kind in sizes[group]:
            by_kind[kind].append(group)
    groups_left = Counter({kind: len(names) for kind, names in by_kind.items()})
    chosen: set[str] = set()
    held: Counter[str] = Counter()

    def can_hold_out(group: str) -> bool:
        return group not in chosen and all(groups_left[kind] > 1 for kind in sizes[group])

    def hold_out(group: str) -> None:
        chosen.add(group)
        held.update(sizes[group])
        groups_left.subtract(list(sizes[group]))

    for kind, _ in sorted(images.items(), key=lambda pair: (pair[1], pair[0])):
        wanted = max(least, round(images[kind] * share))
        for group in by_kind[kind]:
            most = 2 * (wanted - held[kind]) + 1  # exceeds the share by hardly more than is missing now
            if held[kind] < wanted and sizes[group][kind] <= most and can_hold_out(group):
                hold_out(group)
        if held[kind] < min(wanted, 1) and (candidates := [group for group in by_kind[kind] if can_hold_out(group)]):
            hold_out(min(candidates, key=lambda group: sizes[group][kind]))  # all are too large: take the smallest
    return chosen


def _kinds(item: DatasetRow) -> set[str]:
    return set(item.labels) or {item.label}
