"""Rows of the table in docs/reliability.md: what was done, how often, and what went wrong."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs/reliability.md"
BEGIN, END = "<!-- torture -->\n", "<!-- /torture -->"
FAULTS = ("lost", "half", "wrong", "crashed")
"""Acknowledged but gone; partly visible; wrongly accepted or answered; a traceback, a signal or a hang."""
_HEAD = f"| what was done | how often | {' | '.join(FAULTS)} |\n|---|---|{'---|' * len(FAULTS)}\n"
_ORDERED = re.compile(r"^\| (.*?) \|.*\n", re.MULTILINE)


@dataclass
class Row:
    """One line of the table."""

    what: str
    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)
    """Numbers that belong to the line, in words."""

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] += number

    def fault(self, kind: str, words: str) -> None:
        """Count a fault, and print its description at once: the table has only the numbers."""
        self.faults[kind] += 1
        print(f"  {self.what}: {kind}: {words}", flush=True)

    def expect(self, condition: object, kind: str, words: str) -> None:
        if not condition:
            self.fault(kind, words)

    @property
    def line(self) -> str:
        done = [f"{number:,} {what}" for what, number in self.counts.items()] + self.remarks
        return f"| {self.what} | {', '.join(done)} | {' | '.join(str(self.faults[kind]) for kind in FAULTS)} |\n"

    @property
    def is_passed(self) -> bool:
        return not any(self.faults.values())


@dataclass
class Patience:
    """How long a row may take at most."""

    seconds: float = math.inf


PATIENCE = Patience()


def rounds_of(count: int) -> Iterator[int]:
    """So many rounds, or as many as there is time for."""
    until = time.monotonic() + PATIENCE.seconds
    for number in range(count):
        if number and time.monotonic() > until:
            return
        yield number


def table(rows: Iterable[Row]) -> str:
    return _HEAD + "".join(row.line for row in rows)


def write(rows: Iterable[Row]) -> None:
    """Replace the document's rows of the same name; all others stay."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    shown, _, after = rest.partition(END)
    lines = {found[1]: found[0] for found in _ORDERED.finditer(shown) if found[1] != "what was done"}
    lines |= {row.what: row.line for row in rows}
    DOCUMENT.write_text(f"{before}{BEGIN}{_HEAD}{''.join(lines.values())}{END}{after}")
