"""For whom a command runs: where its relative paths begin and where its words go.

Usually that is this process: its folder, its standard output and error. A server runs commands that other processes
hand over, in a thread beside others, so it changes neither of its own and names the caller's instead.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import typer


@dataclass(frozen=True, slots=True)
class CommandContext:
    """A process that handed a command over: its folder, streams that reach it, and the warehouse that is served."""

    folder: Path
    out: TextIO
    err: TextIO
    warehouse: Path | None = None


_caller: ContextVar[CommandContext | None] = ContextVar("caller", default=None)


@contextmanager
def on_behalf_of(caller: CommandContext) -> Iterator[None]:
    """Run what follows in this thread for a caller."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


def out() -> TextIO:
    """Where results go."""
    caller = _caller.get()
    return sys.stdout if caller is None else caller.out


def err() -> TextIO:
    """Where everything else goes."""
    caller = _caller.get()
    return sys.stderr if caller is None else caller.err


def folder() -> Path:
    """The folder in which the command was typed."""
    caller = _caller.get()
    return Path.cwd() if caller is None else caller.folder


def user_path(text: str) -> Path:
    """A path of the command line as its user means it; commands that a server may run read all theirs so."""
    caller = _caller.get()
    return Path(text) if caller is None else caller.folder / Path(text).expanduser()


def user_place(text: str) -> str:
    """A path or a URL of the command line."""
    if "://" in text and not text.startswith("file://"):
        return text
    return str(user_path(text.removeprefix("file://")))


def user_warehouse(context: typer.Context, option: typer.CallbackParam, given: Path | None) -> Path | None:
    """The warehouse that a command names, else the one that its server serves, whose environment says nothing of it."""
    caller = _caller.get()
    source = context.get_parameter_source(str(option.name))
    is_named = source is not None and source.name == "COMMANDLINE"
    return given if is_named or caller is None or caller.warehouse is None else caller.warehouse
