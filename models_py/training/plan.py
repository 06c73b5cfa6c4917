"""Plan a training: choose the architecture, check the options, and freeze the rows, before anything slow starts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models_py.datasets import FrozenDataset, freeze
from models_py.errors import DuckspectError
from models_py.model.architectures import Architecture, default_architecture, find_architecture
from models_py.model.devices import find_devices, half
from models_py.model.options import TrainingOptions, as_json, parse_options
from models_py.model.verdict import GOOD
from models_py.progress import SilentReport, TrainingReport, counting
from models_py.registry import check_name
from models_py.task import options_of
from models_py.weights.sources import choose_source, with_trunk
from models_py.yolo import ultralytics

if TYPE_CHECKING:
    import duckdb


SMALLEST_TILE = 32
"""The least side of a tile, as of an image that a network sees."""


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Everything that determines a training's result."""

    name: str
    architecture: Architecture
    options: TrainingOptions
    dataset: FrozenDataset

    @property
    def run_id(self) -> str:
        """A hash of the plan, so that the same training again finds the folder of the one that was killed."""
        described = [self.name, self.architecture.name, as_json(self.options), self.dataset.sha256]
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]


def plan(
    con: duckdb.DuckDBPyConnection,
    *,
    name: str,
    task: str,
    query: str,
    architecture: str | None = None,
    options: Mapping[str, Any] | None = None,
    report: TrainingReport | None = None,
) -> TrainingPlan:
    """Check everything that can be checked before training, and freeze the rows."""
    check_name(name)
    chosen = find_architecture(task, architecture or _default(task, options or {}))
    parsed = parse_options(options_of(task), {**chosen.defaults, **(options or {})})
    if parsed.tile:
        if parsed.tile < SMALLEST_TILE:
            raise DuckspectError(f"tile: must be 0 or at least {SMALLEST_TILE}, but is {parsed.tile}.")
        parsed = dataclasses.replace(parsed, image_size=parsed.tile)
    if chosen.family == "yolo":
        ultralytics()
    chosen = with_trunk(chosen, parsed)
    # The choice is part of the plan, so that a training that is resumed starts from the same weights.
    parsed = dataclasses.replace(parsed, weights=choose_source(chosen, parsed.weights, report or SilentReport()))
    half(find_devices(parsed.device)[0], parsed.precision)
    if "," in parsed.device and chosen.family != "yolo":
        raise DuckspectError(f"device: {chosen.name} trains on one device, YOLO on several. Choose one: -o device=0")
    if chosen.family == "difference" and parsed.reference == "none":
        raise DuckspectError(
            f"reference: {chosen.name} looks at what differs from a reference image, so it must not be none. "
            f"Leave it out, or choose another architecture."
        )
    dataset = freeze(
        con,
        query,
        task,
        validation=parsed.validation,
        test=parsed.test,
        seed=parsed.seed,
        duplicates=parsed.duplicates,
        references=parsed.reference != "none",
        progress=counting(report or SilentReport(), "Reading images"),
    )
    _check_trainable(dataset)
    return TrainingPlan(name, chosen, parsed, dataset)


def _default(task: str, options: Mapping[str, Any]) -> str:
    """The architecture for the device that is asked for."""
    has_gpu = find_devices(str(options.get("device", "auto")))[0].type == "cuda"
    return default_architecture(task, has_gpu=has_gpu)


def _check_trainable(dataset: FrozenDataset) -> None:
    train, held_out = dataset.part("train"), dataset.part("val")
    if dataset.task == "anomaly" and not train:
        raise DuckspectError(
            "query: every good image is held out, by its split or because its unit or template has defective images "
            "too. Learn from good images alone (where label = 'good'), or add a column split."
        )
    if len(train) < 2 or not held_out:
        raise DuckspectError(
            f"query: too few images: {len(train)} to train on and {len(held_out)} to validate, "
            f"but it takes at least 2 and 1, of different units and templates."
        )
    if dataset.task == "anomaly":
        return
    images = Counter(label for item in dataset.rows for label in set(item.labels))
    if dataset.task == "classify" and len(images) < 2:
        raise DuckspectError(f"query: every image is {next(iter(images))}; classification needs two classes.")
    if single := sorted(label for label, count in images.items() if count == 1 and label != GOOD):
        raise DuckspectError(
            f"query: {', '.join(map(repr, single))} has one image; a label takes one to train on and one to validate. "
            f"Add images, or leave it out: where label <> '{single[0]}'"
        )
    learned = set(dataset.counts("train"))
    if unlearned := sorted(label for label in set(dataset.classes) - learned):
        raise DuckspectError(
            f"query: the label {unlearned[0]!r} has no train image: all of its images are held out or of one unit."
        )
