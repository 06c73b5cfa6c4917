"""Measure how fast the KPI views answer over millions of defects.

A warehouse is built by dbt without an image in it; then the tables below the aggregates are filled with drawn rows, the
models above them are run, and every `kpi_*` view is read in full, five times, by a plain DuckDB connection; and so is
what a change of filter asks on the dashboard's overview.

    python benchmarks/kpi.py                  # 10 million defects in 4 million inspections
    python benchmarks/kpi.py --defects 1e6
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path

import duckdb

from models_py.warehouse.database import sql_folder
from udfs import connect
from udfs.builds.build import build

_DAYS = 365
_ABOVE = (
    "agg_inspections_daily",
    "agg_defects_daily",
    "agg_confidence_daily",
    "fct_drift",
    "agg_models_daily",
    "fct_review_queue",
)
_OVERVIEW = (
    "quality",
    "quality",
    "quality_by_day",
    "alerts",
    "pareto",
    "defects_by_line",
    "defects_by_day",
    "confidence",
    "control_chart",
    "detections",
)
_LINE = "'LINE_' || (hash(n, 'line') % 12)"
_DRAWN = f"""
create or replace temp table drawn as
select
    n,
    'inspection ' || n as inspection_id,
    'unit ' || n as unit_id,
    'image ' || n as image_id,
    {_LINE} as line_id,
    'STATION_' || (hash(n, 'station') % 24) as station_id,
    'PCB-' || (hash({_LINE}, hash(n, 'product') % 3) % 20) as product_type,
    ['early', 'late', 'night'][(hash(n, 'shift') % 3 + 1)::integer] as shift_name,
    'CAM-' || (hash(n, 'station') % 24) as camera_id,
    '/images/' || n || '.jpg' as uri,
    (hash(n, 'score') % 1000) / 1000 as score,
    hash(n, 'truth') % 4 as truth,
    date '2025-10-01' + (n * {_DAYS} // ?)::integer as production_date,
    timestamptz '2025-10-01' + to_seconds((n * {_DAYS} * 86400.0 / ?)) as captured_at,
    timezone('America/Chicago', captured_at) as captured_local
from range(?::bigint) as numbers (n)
"""
_JUDGED = """
insert into intermediate.int_inspections__judged by name
select
    drawn.* exclude (n, truth), 'pcb' as model, 1 as version,
    if(score >= 0.7, 'short', 'good') as predicted_label,
    case truth when 0 then 'short' when 1 then 'good' end as gold_label,
    0.7 as threshold, score as confidence, 409600 as image_px, 0 as error_count, 1 as answer_count,
    score >= 0.7 as is_flagged, abs(score - 0.7) <= 0.07 as is_borderline,
    case truth when 0 then true when 1 then false end as is_defective, false as is_reviewed
from drawn
"""
_METADATA = """
insert into inspection_metadata by name
select drawn.* exclude (n, truth, score), 'train' as split, 120 + score as brightness, 80 + score as sharpness
from drawn
"""
_UNITS = """
insert into fct_inspections by name
select
    unit_id || ' 1' as unit_pass_id, unit_id, line_id, station_id, product_type, shift_name, 'pcb' as model,
    1 as version, if(score >= 0.7, 'fail', 'pass') as verdict, 1 as pass_number, 1 as image_count,
    0 as unreadable_count, if(score >= 0.7, 8, 0) as defect_count, 0.01 as defect_area_share, score,
    true as is_first_pass, true as is_last_pass, score >= 0.7 as is_flagged, false as is_reviewed,
    case truth when 0 then true when 1 then false end as is_truly_defective, production_date,
    captured_at as inspected_at
from drawn
"""
_DEFECTS = """
insert into defect_log by name
select
    'defect ' || n || ' ' || place as defect_id, 'prediction ' || n as prediction_id,
    drawn.* exclude (n, truth, score), 'pcb' as model, 1 as version,
    ['open', 'short', 'mousebite', 'spur', 'copper', 'pin-hole'][(hash(n, place) % 6 + 1)::integer] as label,
    (hash(n, place, 'sure') % 1000) / 1000 as confidence, 0.7 as threshold, 1.0 as x1, 1.0 as y1, 9.0 as x2, 9.0 as y2,
    64.0 as area_px, 0.0001 as area_share, false as is_rejected,
    case truth when 0 then false when 1 then true end as is_false_positive, captured_at as scored_at
from drawn
cross join range(?::bigint) as places (place)
"""


def fill(warehouse: Path, defects: int) -> None:
    """Draw 4 inspections for every 10 defects."""
    inspections = defects * 4 // 10
    with connect(warehouse) as con:
        con.execute(_DRAWN, [inspections, inspections, inspections])
        for statement in (_JUDGED, _METADATA, _UNITS):
            con.execute(statement)
        con.execute("delete from drawn where n % 4 <> 0")
        con.execute(_DEFECTS, [10])


def built(warehouse: Path, arguments: list[str]) -> float:
    """Build with dbt; the seconds it took."""
    outcome = build(warehouse, arguments)
    if not outcome.is_good:
        raise SystemExit("\n".join(outcome.failures))
    return outcome.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--defects", type=float, default=1e7)
    parser.add_argument("--threads", type=int, default=2, help="of the reader")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        warehouse = Path(folder) / "w.duckdb"
        connect(warehouse).close()
        built(warehouse, [])
        started = time.perf_counter()
        fill(warehouse, int(arguments.defects))
        print(f"filled in {time.perf_counter() - started:.0f} s, {warehouse.stat().st_size / 1e9:.1f} GB")
        seconds = built(warehouse, [word for name in _ABOVE for word in ("--select", name)])
        print(f"{', '.join(_ABOVE)} built and tested in {seconds:.1f} s")
        report(warehouse, arguments.threads)
        report_filters(warehouse, arguments.threads)


def report(warehouse: Path, threads: int) -> None:
    with duckdb.connect(warehouse, read_only=True) as con:
        con.execute(f"set threads = {threads}")
        [(defects,)] = con.execute("select count(*) from defect_log").fetchall()
        print(
            f"\n{defects:,} defects, {threads} threads\n\n| view | rows | median ms | slowest ms |\n|---|---|---|---|"
        )
        views = con.execute("select view_name from duckdb_views() where view_name like 'kpi_%' order by 1").fetchall()
        for (view,) in views:
            taken = []
            for _ in range(5):
                started = time.perf_counter()
                rows = con.execute(f"select * from {view}").to_arrow_table().num_rows
                taken.append(1000 * (time.perf_counter() - started))
            print(f"| {view} | {rows:,} | {statistics.median(taken):.0f} | {max(taken):.0f} |")


def report_filters(warehouse: Path, threads: int) -> None:
    """The queries of the overview after a filter was changed: half a year of one line."""
    values = {"since": date(2026, 1, 1), "until": date(2026, 6, 30), "line": ["LINE_3"]}
    values |= {"product": None, "shift": None, "model": None}
    texts = [(sql_folder() / "dashboard" / f"{name}.sql").read_text() for name in _OVERVIEW]
    with duckdb.connect(warehouse, read_only=True) as con:
        con.execute(f"set threads = {threads}")
        taken = []
        for _ in range(5):
            started = time.perf_counter()
            for text in texts:
                (statement,) = con.extract_statements(text)
                con.execute(statement, {name: values[name] for name in statement.named_parameters}).fetchall()
            taken.append(1000 * (time.perf_counter() - started))
        print(f"\n{len(_OVERVIEW)} queries of the overview after a change of filter: {statistics.median(taken):.0f} ms")


if __name__ == "__main__":
    main()
