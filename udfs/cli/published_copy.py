"""A copy for readers after what changed the warehouse."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from models_py.errors import DuckspectError
from udfs.builds.build import did_last_build_fail, publish
from udfs.cli.output import note


def leave_copy(warehouse: Path | None) -> None:
    """Give readers a copy of what is there now, unless a build left tables half new."""
    if did_last_build_fail(warehouse):
        note("Readers keep the copy they have, for the last build did not end well, or still runs: duckspect build")
        return
    try:
        note(f"Readers find it in {publish(warehouse).name}.")
    except DuckspectError as error:  # what was done is stored all the same
        note(f"Readers keep the copy they have: {error}")


class SparePublisher:
    """Leaves copies when something changed, but not more often than once in so many seconds."""

    def __init__(self, every: float, leave: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._every = every
        self._leave = leave
        self._clock = clock
        self._last: float | None = None
        self._is_due = False

    def changed(self) -> None:
        """Something changed that readers do not have yet."""
        self._is_due = True

    def look(self) -> None:
        """Leave a copy if one is due and the last is old enough."""
        if self._is_due and (self._last is None or self._clock() - self._last >= self._every):
            self.finish()

    def finish(self) -> None:
        """Leave a copy if one is due."""
        if self._is_due:
            self._is_due = False
            self._leave()
            self._last = self._clock()
