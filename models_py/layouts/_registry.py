"""The list of layouts, which ingestion, `--layout`, `duckspect layouts`, the documentation and the tests iterate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

from models_py.errors import LayoutError
from models_py.layouts._samples import Label, Reject, Sample
from models_py.layouts._tree import Tree


class Layout(ABC):
    """A reader of one publisher's folder structure, made for one tree.

    A subclass shows in `example` what the folder looks like and describes in its docstring what it reads. `samples`
    lists the images without opening any; `labels` is called only for new or changed samples, from several threads.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    example: ClassVar[str]
    is_closed: ClassVar[bool] = True
    """Whether it reads only files of the tree. A manifest is not closed: it may name files elsewhere."""
    states_units: ClassVar[bool] = False
    """Whether its unit ids were written by the user and so correct stored ones; other layouts take them from names."""

    def __init__(self, tree: Tree, columns: Mapping[str, str] | None = None) -> None:
        self.tree = tree
        self.columns = dict(columns or {})

    @classmethod
    @abstractmethod
    def recognise(cls, tree: Tree) -> str | None:
        """Describe what in the tree shows this layout, or return None if it is another."""

    @abstractmethod
    def samples(self) -> Iterable[Sample | Reject]:
        """List every image once, in a fixed order, with rejects for files that cannot be used."""

    def labels(self, sample: Sample) -> Iterable[Label | Reject]:
        """Read the labels of one sample; by default those that `samples` has set."""
        return sample.labels


_layouts: dict[str, type[Layout]] = {}


def register(layout: type[Layout]) -> type[Layout]:
    """Add a reader to the list; auto-detection tries them in this order, so specific layouts must come first."""
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
