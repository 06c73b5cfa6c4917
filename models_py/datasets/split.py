"""A split that is deterministic, stratified, and never has one unit or template on both sides."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from models_py.datasets.rows import DatasetRow
from models_py.errors import DuckspectError


def assign(
    examples: Sequence[DatasetRow], validation: float, seed: int, *, test: float = 0.0, train_on_good: bool = False
) -> tuple[DatasetRow, ...]:
    """Give every example a split: its own where it has one, else `test` of the groups, and `validation` of the rest.

    With `train_on_good`, groups with a defect are all held out, for testing or validation.

    Groups are kept together, so a group with a given split takes its other images along. Groups are taken in the order
    of their hash, so new images hardly move old ones.
    """
    given = _given(examples)
    if "val" not in given.values():  # validation comes out of what is there to train on
        given = {group: split for group, split in given.items() if split != "train"}
    open_groups: dict[str, list[DatasetRow]] = defaultdict(list)
    for item in examples:
        if item.group not in given:
            open_groups[item.group].append(item)
    wants_test = test > 0 and "test" not in given.values()
    set_apart = _held_out(open_groups, test, seed, least=0) if wants_test else set()
    given |= dict.fromkeys(set_apart, "test")
    open_groups = {group: items for group, items in open_groups.items() if group not in set_apart}
    if train_on_good:
        defective = {group for group, items in open_groups.items() if any(item.is_defective for item in items)}
        clean = {group: items for group, items in open_groups.items() if group not in defective}
        held_out = defective | _held_out(clean, validation, seed)
    else:
        held_out = _held_out(open_groups, validation, seed)
    return tuple(
        replace(item, split=given.get(item.group) or ("val" if item.group in held_out else "train"))
        for item in examples
    )


def _given(examples: Iterable[DatasetRow]) -> dict[str, str]:
    found: dict[str, tuple[str, str]] = {}
    for item in examples:
        if not item.split:
            continue
        split, image = found.setdefault(item.group, (item.split, item.image))
        if split != item.split:
            raise DuckspectError(
                f"query: {image} ({split}) and {item.image} ({item.split}) are of one unit or template, "
                f"but in two splits. Put both into one."
            )
    return {group: split for group, (split, _) in found.items()}


def _held_out(groups: dict[str, list[DatasetRow]], share: float, seed: int, *, least: int = 1) -> set[str]:
    """Choose groups class by class, the rarest first, until each has its share held out, and `least` images or more."""
    images = Counter(label for items in groups.values() for item in items for label in _kinds(item))
    by_kind: dict[str, list[str]] = defaultdict(list)
    sizes: dict[str, Counter[str]] = {}
    for group in sorted(groups, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest()):
        sizes[group] = Counter(kind for item in groups[group] for kind in _kinds(item))
        for kind in sizes[group]:
            by_kind[kind].append(group)
    left = Counter({kind: len(names) for kind, names in by_kind.items()})
    chosen: set[str] = set()
    held: Counter[str] = Counter()

    def can_go(group: str) -> bool:
        return group not in chosen and all(left[kind] > 1 for kind in sizes[group])

    def hold(group: str) -> None:
        chosen.add(group)
        held.update(sizes[group])
        left.subtract(list(sizes[group]))

    for kind, _ in sorted(images.items(), key=lambda pair: (pair[1], pair[0])):
        wanted = max(least, round(images[kind] * share))
        for group in by_kind[kind]:
            room = 2 * (wanted - held[kind]) + 1
            if held[kind] < wanted and sizes[group][kind] <= room and can_go(group):
                hold(group)
        if held[kind] < min(wanted, 1) and (able := [group for group in by_kind[kind] if can_go(group)]):
            hold(min(able, key=lambda group: sizes[group][kind]))  # all are large: the smallest, rather than none
    return chosen


def _kinds(item: DatasetRow) -> set[str]:
    return set(item.labels) or {item.label}
