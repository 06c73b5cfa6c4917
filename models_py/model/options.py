"""Training options: one frozen dataclass per task, read from the command line, JSON or Python by the same rules."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from models_py.errors import DuckspectError

T = TypeVar("T", bound="TrainingOptions")
REFERENCES = ("none", "same", "shift", "homography")
"""Whether and how a reference image is laid onto the image."""
LARGEST_SIDE = 4096
"""Side of the largest square that a network may see, in pixels; what needs more resolution is cut into parts."""


@dataclass(frozen=True, slots=True)
class SearchRange:
    """What tuning may try for an option: a range, on a log scale or not, or a list of choices."""

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Any, ...] = ()


def option(
    default: Any,
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    tune: SearchRange | None = None,
) -> Any:
    """Declare an option: default, meaning, allowed range or values and, if tuning may touch it, its search space."""
    return field(
        default=default, metadata={"help": meaning, "low": low, "high": high, "choices": choices, "tune": tune}
    )


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What every task can be told."""

    epochs: int = option(20, "Passes over the training rows", low=1)
    batch: int = option(16, "Images per step", low=1, tune=SearchRange(choices=(8, 16, 32)))
    image_size: int = option(224, "Side of the square the network sees, in pixels", low=32, high=LARGEST_SIDE)
    learning_rate: float = option(1e-3, "Highest learning rate", low=0, tune=SearchRange(1e-4, 1e-2, log=True))
    weight_decay: float = option(0.01, "Weight decay", low=0, tune=SearchRange(1e-5, 0.1, log=True))
    warmup: float = option(0.1, "Share of the steps in which the learning rate rises", low=0, high=0.9)
    weights: str = option(
        "auto", "Start from: coco, imagenet, package, starter, none, or a file; auto is the best of these at hand"
    )
    validation: float = option(0.2, "Share of the rows held out where the query has no split", low=0.01, high=0.9)
    test: float = option(
        0.0, "Share of the rows that is kept from training and threshold, for honest rates in the KPIs", low=0, high=0.8
    )
    duplicates: str = option(
        "refuse",
        "Where labels of the same image contradict each other: refuse to train, take the newest, or drop the image",
        choices=("refuse", "newest", "drop"),
    )
    patience: int = option(20, "Stop after so many epochs without a better validation metric", low=1)
    hours: float = option(0.0, "Stop after so many hours; 0 is no limit", low=0)
    seed: int = option(0, "Another seed is another training", low=0)
    device: str = option("auto", "auto, cpu, cuda, 0, or 0,1 for several GPUs")
    precision: str = option("auto", "auto (bf16 where the hardware has it), fp32 or bf16")
    workers: int = option(0, "Image readers at once; 0 fits the machine", low=0)
    reference: str = option(
        "none",
        "See each image beside its reference image (golden board): none, or how that is laid onto the image: same (as "
        "it is), shift, homography",
        choices=REFERENCES,
    )
    tile: int = option(
        0,
        "Cut images into squares of so many pixels at full resolution, which the network sees in place of the whole "
        "image; 0 is off",
        low=0,
        high=LARGEST_SIDE,
    )
    overlap: float = option(0.2, "Share of a tile that its neighbour sees too", low=0, high=0.8)
    clahe: float = option(0.0, "Contrast limit of CLAHE, for low-contrast parts; 0 is off", low=0)
    escape_cost: float = option(10.0, "Cost of one defect let through, for the operating threshold", low=0)
    overkill_cost: float = option(1.0, "Cost of one good part rejected", low=0)
    escape_limit: float = option(
        0.2, "Share of the defective let through beyond which a warning is given", low=0, high=1
    )
    overkill_limit: float = option(0.2, "Share of the good rejected beyond which a warning is given", low=0, high=1)

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            _check(item, getattr(self, item.name))


def _check(item: dataclasses.Field[Any], value: Any) -> None:
    low, high, choices = (item.metadata.get(key) for key in ("low", "high", "choices"))
    if choices and value not in choices:
        raise DuckspectError(f"{item.name}: must be one of {', '.join(choices)}, but is {value!r}.")
    if isinstance(value, int | float) and ((low is not None and value < low) or (high is not None and value > high)):
        bounds = f"at least {low:g}" if high is None else f"between {low:g} and {high:g}"
        raise DuckspectError(f"{item.name}: must be {bounds}, but is {value}.")


def parse_options(kind: type[T], values: Mapping[str, Any]) -> T:
    """Build options from a mapping, texts converted to each option's type; an unknown key lists the valid ones."""
    fields = {item.name: item for item in dataclasses.fields(kind)}
    if unknown := [key for key in values if key not in fields]:
        raise DuckspectError(
            f"{unknown[0]}: no such option for {kind.__name__}. Valid options: {', '.join(sorted(fields))}."
        )
    hints = typing.get_type_hints(kind)
    return kind(**{key: _convert(key, hints[key], value) for key, value in values.items()})


def _convert(name: str, kind: Any, value: Any) -> Any:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return None if value in (None, "", "none") else _convert(name, typing.get_args(kind)[0], value)
    try:
        return _CONVERTERS[kind](value)
    except (ValueError, TypeError, KeyError) as error:
        raise DuckspectError(f"{name}: must be {_names(kind)}, but is {value!r}.") from error


def _boolean(value: Any) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[str(value).lower()]


def _integer(value: Any) -> int:
    if isinstance(value, bool) or float(value) != int(float(value)):
        raise ValueError(value)
    return int(float(value))


_CONVERTERS: dict[Any, Any] = {int: _integer, float: float, str: str, bool: _boolean}


def _names(kind: Any) -> str:
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(kind, str(kind))


def as_dict(options: TrainingOptions) -> dict[str, Any]:
    return dataclasses.asdict(options)


def as_json(options: TrainingOptions) -> str:
    return json.dumps(as_dict(options), sort_keys=True)


def search_space(kind: type[TrainingOptions]) -> dict[str, SearchRange]:
    """The options that tuning may touch, with what it may try."""
    return {item.name: space for item in dataclasses.fields(kind) if (space := item.metadata.get("tune"))}


def describe(kind: type[TrainingOptions]) -> list[tuple[str, str, str]]:
    """Name, default and meaning of every option."""
    return [(item.name, str(item.default), str(item.metadata["help"])) for item in dataclasses.fields(kind)]
