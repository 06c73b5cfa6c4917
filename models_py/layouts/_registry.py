"""The one list of layouts: ingestion, `--layout`, `duckspect layouts`, the documentation and the tests iterate it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

from models_py.errors import LayoutError
from models_py.layouts._samples import Label, Reject, Sample
from models_py.layouts._tree import Tree


class Layout(ABC):
    """A reader of one publisher's folder structure, made for one tree.

    A subclass says in `example` what the folder looks like and in its docstring what it reads. `samples` lists the
    images without opening any; `labels` is called only for samples that are new or changed, from several threads.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    example: ClassVar[str]
    is_closed: ClassVar[bool] = True
    """Everything it reads is listed in the tree; a manifest may point elsewhere."""
    states_units: ClassVar[bool] = False
    """Its unit ids are what somebody wrote, and correct those that are stored; others are made from file names."""

    def __init__(self, tree: Tree, columns: Mapping[str, str] | None = None) -> None:
        self.tree = tree
        self.columns = dict(columns or {})

    @classmethod
    @abstractmethod
    def recognise(cls, tree: Tree) -> str | None:
        """Say in words what in the tree shows this layout, or None."""

    @abstractmethod
    def samples(self) -> Iterable[Sample | Reject]:
        """List every image once, in a fixed order, and what is evidently wrong with the tree."""

    def labels(self, sample: Sample) -> Iterable[Label | Reject]:
        """Read the labels of one sample; by default those that `samples` already knew."""
        return sample.labels


_layouts: dict[str, type[Layout]] = {}


def register(layout: type[Layout]) -> type[Layout]:
    """Add a reader to the list; auto-detection asks in order of registration, so the special come first."""
    if layout.name in _layouts:
        raise ValueError(f"two layouts are named {layout.name!r}")
    _layouts[layout.name] = layout
    return layout


def layouts() -> Iterator[type[Layout]]:
    yield from _layouts.values()


def layout_named(name: str) -> type[Layout]:
    """Look a reader up by its name."""
    if name not in _layouts:
        raise LayoutError(f"layout: must be one of {', '.join(_layouts)}, but got {name!r}. See `duckspect layouts`.")
    return _layouts[name]


def recognise(tree: Tree) -> tuple[type[Layout], str]:
    """Find the reader for a tree, with the evidence in words."""
    for layout in layouts():
        if evidence := layout.recognise(tree):
            return layout, evidence
    raise LayoutError(
        f"{tree.root!r} holds {len(tree.files):,} files, but none that duckspect can read. "
        f"Name a folder, an archive or a manifest of images; `duckspect layouts` shows what each looks like."
    )
