"""Days on which clocks change, in every time zone of the demo: wall clock, shift and day against Python's own."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from faults import checks, ground
from faults.processes import run
from faults.rows import Row
from models_py.warehouse.database import sql_folder
from udfs import connect

_YEARS = range(2024, 2027)
_STEP = timedelta(minutes=15)


def fill(folder: Path, rounds: int | None, only: list[str]) -> Iterator[Row]:  # noqa: ARG001
    """Inspect a unit every quarter of an hour around each change, build, and compare."""
    home = ground.make(folder)
    place = ground.copy(home, folder / "times")
    seeds = sql_folder().parent / "dbt_project/seeds"
    with (seeds / "production_lines.csv").open() as file:
        zones = {row["line_id"]: ZoneInfo(row["time_zone"]) for row in csv.DictReader(file)}
    with (seeds / "production_shifts.csv").open() as file:
        shifts = sorted((time.fromisoformat(row["starts_at"]), row["shift_name"]) for row in csv.DictReader(file))
    moments = {line: _moments(zone) for line, zone in zones.items()}
    row = Row("days on which clocks change, all time zones of the demo")
    with connect(place / ground.WAREHOUSE) as con:
        columns = [name for name, *_ in con.execute("describe raw.inspections").fetchall()]
        replaced = "'T' || $line || epoch_us(moment) as inspection_id, 'U' || $line || epoch_us(moment) as unit_id, "
        replaced += "$line as line_id, moment as captured_at"
        names = {"inspection_id", "unit_id", "line_id", "captured_at"} & set(columns)
        for line, found in moments.items():
            con.execute(
                f"insert into raw.inspections by name select * exclude ({', '.join(names)}, moment), {replaced} "
                "from (from raw.inspections limit 1), unnest($moments::timestamptz[]) as moments (moment)",
                {"line": line, "moments": found},
            )
    before = checks.kept(place)
    status, said, crash = run(("build", "-w", ground.WAREHOUSE), place)
    row.expect(status == 0 and not crash, "crashed", said[-600:])
    with connect(place / ground.WAREHOUSE) as con:
        told = con.execute(
            "select line_id, captured_at, captured_local, shift_name, production_date from inspection_metadata "
            "where starts_with(inspection_id, 'T')"
        ).fetchall()
    row.count("time zones", len({str(zone) for zone in zones.values()}))
    row.count("moments", sum(map(len, moments.values())))
    row.expect(len(told) == row.counts["moments"], "lost", f"{len(told)} of {row.counts['moments']} are there")
    for line, moment, local, shift, day in told:
        wanted = moment.astimezone(zones[line]).replace(tzinfo=None)
        expected = (wanted, *_shift(wanted, shifts))
        row.expect((local, shift, day) == expected, "wrong", f"{line} {moment}: {(local, shift, day)}, not {expected}")
    for kind, words in checks.problems(place, before):
        row.fault(kind, words)
    yield row


def _moments(zone: ZoneInfo) -> list[datetime]:
    """Every quarter of an hour of two days around each change of a zone's clock, and around New Year."""
    found: set[datetime] = set()
    for year in _YEARS:
        hours = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(365 * 24)]
        changed = [b for a, b in pairwise(hours) if _offset(a, zone) != _offset(b, zone)]
        for middle in [*changed, hours[0], datetime(year, 2, 28, 12, tzinfo=UTC)]:
            found |= {middle + n * _STEP for n in range(-96, 97)}
    now = datetime.now(UTC)
    return sorted(moment for moment in found if moment < now)


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta | None:
    return moment.astimezone(zone).utcoffset()


def _shift(local: datetime, shifts: list[tuple[time, str]]) -> tuple[str, date]:
    """The shift that a wall clock shows, and the day on which it began."""
    begun = [name for start, name in shifts if start <= local.time()]
    return (begun[-1], local.date()) if begun else (shifts[-1][1], local.date() - timedelta(days=1))
