"""Test what survives: kills, full disks, forged files, odd times and numbers, swaps under readers, continuous load.

Each subject does to a small drawn plant, in a temporary folder, what a plant does to its software on its worst days,
with the real commands, and counts what was lost (acknowledged and gone), half (partly visible), wrong (let through or
answered falsely) or crashed (a traceback, a signal, no end). A row passes with four zeros.

    python benchmarks/torture.py                         # all of it: hours
    python benchmarks/torture.py kills --rounds 5        # quickly; a command's name after it takes that one alone
    python benchmarks/torture.py soak --seconds 60
    python benchmarks/torture.py swaps --write           # puts its rows into docs/reliability.md

`disk` mounts a small file system: as another user than root run it under `unshare -rm`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import time
from pathlib import Path

SUBJECTS = (
    "kills", "disk", "artifacts", "redirects", "times", "confidences", "swaps", "handover", "desk", "soak",
)  # fmt: skip


def main() -> int:
    from faults import rows

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subject", nargs="?", choices=SUBJECTS, help="all if left out")
    parser.add_argument("only", nargs="*", help="of kills and disk: these commands alone")
    parser.add_argument("--rounds", type=int, help="how often; the subject's own number if left out")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long the soak goes on")
    parser.add_argument("--minutes", type=float, help="of kills, disk and swaps: how long a row may take at most")
    parser.add_argument("--folder", type=Path, help="where to work; a plant that is there already is used again")
    parser.add_argument("--write", action="store_true", help="put the rows into docs/reliability.md")
    given = parser.parse_args()
    found: list[rows.Row] = []
    if given.minutes:
        rows.PATIENCE.seconds = 60 * given.minutes
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        for subject in [given.subject] if given.subject else SUBJECTS:
            started = time.perf_counter()
            module = importlib.import_module(f"faults.{subject}")
            for row in module.fill(folder, given.rounds, given.only if subject != "soak" else given.seconds):
                print(row.line, end="", flush=True)
                found.append(row)
                if given.write:
                    rows.write([row])
            print(f"  {subject}: {time.perf_counter() - started:.0f} s", flush=True)
    print(rows.table(found))
    return 0 if all(row.is_passed for row in found) else 1


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
