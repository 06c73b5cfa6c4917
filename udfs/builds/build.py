"""Run the dbt project against a warehouse, and publish the result to readers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import yaml

from models_py.errors import DuckspectError, WarehouseError
from models_py.files.durable import remove_leftovers, replacing
from models_py.files.full_disk import full_disk
from models_py.warehouse.database import ENVIRONMENT_VARIABLE, files_folder, probe, sql_folder, warehouse_path
from udfs.image_counter import ENVIRONMENT_VARIABLE as COUNTER_VARIABLE
from udfs.image_counter import read_count
from udfs.session.session import Session

_COPY = "import shutil, sys; shutil.copyfile(*sys.argv[1:])"
_LOOK_EVERY = 1.0
_RESULTS = "run_results.json"
_PROFILES = "profiles.yml"
_OF_THE_WAREHOUSE = re.compile(rf"env_var\(\s*(['\"]){ENVIRONMENT_VARIABLE}\1[^()]*\)")
KPI_VIEWS = """
select view_name, sql from duckdb_views()
where database_name = current_database() and schema_name = 'main' and starts_with(view_name, 'kpi_')
order by view_name
"""


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build did: number of nodes by kind, and the error message of each that failed."""

    succeeded: dict[str, int]
    failures: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: float

    @property
    def is_good(self) -> bool:
        return not self.failures


def project_folder(folder: Path) -> Path:
    """The dbt project: `dbt_project` in the folder, if its user has one there, else the one that is installed."""
    own = folder / "dbt_project"
    return own if (own / "dbt_project.yml").exists() else sql_folder().parent / "dbt_project"


def _write_profiles(project: Path, warehouse: Path, folder: Path) -> None:
    """The profiles beside the project, else ours, with this warehouse in place of the variable that names one.

    dbt reads variables from its process' environment alone, and that may be a server's or a notebook's.
    """
    beside = project.parent / _PROFILES
    file = beside if beside.exists() else sql_folder().parent / _PROFILES
    profiles = _with_warehouse(yaml.safe_load(file.read_text()), repr(str(warehouse)))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _PROFILES).write_text(yaml.safe_dump(profiles, sort_keys=False))


def _with_warehouse(value: Any, literal: str) -> Any:
    if isinstance(value, dict):
        return {key: _with_warehouse(item, literal) for key, item in value.items()}
    return _OF_THE_WAREHOUSE.sub(lambda _: literal, value) if isinstance(value, str) else value


def published_path(path: str | Path | None = None) -> Path:
    """The copy for readers beside `warehouse.duckdb`: `warehouse.published.duckdb`."""
    warehouse = warehouse_path(path)
    return warehouse.with_name(f"{warehouse.stem}.published.duckdb")


def _target(warehouse: Path) -> Path:
    """The folder of dbt's logs and results."""
    return files_folder(warehouse) / "dbt" / "target"


def _unheard(scored: int) -> None:
    """The default for `progress`: do nothing."""


def build(
    path: str | Path | None,
    arguments: Sequence[str],
    *,
    folder: Path | None = None,
    begin: Callable[[], None] = lambda: None,
    progress: Callable[[int], None] = _unheard,
) -> BuildResult:
    """Run `dbt build` in a process of its own, which holds the warehouse's lock no longer than it must.

    `folder` is where a dbt project of the user's own may be, the current one if left out; `begin` is called once it is
    clear that the warehouse can be written, `progress` every second with how often functions were asked about an image.
    """
    warehouse = warehouse_path(path)
    if not warehouse.exists():
        raise WarehouseError(
            f"There is no warehouse at {warehouse}. Make one with `duckspect init` or `duckspect demo`."
        )
    project, target = project_folder(folder or Path.cwd()), _target(warehouse)
    results = target / _RESULTS
    results.unlink(missing_ok=True)
    profiles = target.with_name("profiles")
    command = ["--quiet", "--no-send-anonymous-usage-stats", "build", "--project-dir", str(project)]
    command += ["--profiles-dir", str(profiles), "--target-path", str(target)]
    command += ["--log-path", str(target.with_name("logs")), "--log-level-file", "info", *arguments]
    probe(warehouse)
    begin()
    _write_profiles(project, warehouse, profiles)
    if Session.is_held_here(warehouse):
        output = _run_here(command)
    else:
        output = _run([sys.executable, "-m", "dbt.cli.main", *command], target.with_name("scored"), progress)
    if not results.exists():
        raise _why(output, target)
    return _outcome(json.loads(results.read_text()))


def _run(command: Sequence[str], counter: Path, progress: Callable[[int], None]) -> str:
    """Run dbt, report the progress of its scoring, and return what it printed."""
    counter.parent.mkdir(parents=True, exist_ok=True)
    counter.unlink(missing_ok=True)
    environment = {**os.environ, COUNTER_VARIABLE: str(counter)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:  # noqa: S603
        try:
            while True:
                try:
                    return "".join(process.communicate(timeout=_LOOK_EVERY))
                except subprocess.TimeoutExpired:
                    progress(read_count(counter))
        except BaseException:
            process.terminate()
            raise


def _run_here(arguments: Sequence[str]) -> str:
    """Run dbt in this process, which alone may write the warehouse: it serves it, or is a notebook.

    dbt prints nothing here, for this process' output is not its own; its log file and results have everything.
    """
    from dbt.cli.main import dbtRunner

    finished = dbtRunner().invoke(["--log-level", "none", *arguments])
    return str(finished.exception or "")


def _why(output: str, target: Path) -> DuckspectError:
    """The error for a dbt run without results, from what it printed."""
    words = " ".join(line.strip() for line in output.splitlines() if line.strip())
    error = WarehouseError(f"dbt could not begin: {words or 'it said nothing'}")
    return full_disk(error, target) or error


def _outcome(results: dict[str, object]) -> BuildResult:
    rows = results["results"]
    seconds = results["elapsed_time"]
    assert isinstance(rows, list)  # noqa: S101 - the shape of dbt's own file
    assert isinstance(seconds, float)  # noqa: S101
    done: Counter[str] = Counter()
    failures, warnings = [], []
    for row in rows:
        kind, name = str(row["unique_id"]).split(".")[0], str(row["unique_id"]).split(".")[2]
        if row["status"] in ("success", "pass", "no-op"):
            done[kind] += 1
        elif row["status"] in ("error", "fail", "runtime error"):
            failures.append(f"{kind} {name}: {' '.join(str(row['message']).split())}")
        elif row["status"] == "warn":
            warnings.append(f"{kind} {name}: {' '.join(str(row['message']).split())}")
    return BuildResult(dict(done), tuple(failures), tuple(warnings), seconds)


def did_last_build_fail(path: str | Path | None = None) -> bool:
    """Whether the last build went wrong or was cut off, so that its tables may be half new."""
    target = _target(warehouse_path(path))
    if not target.exists():
        return False
    try:
        return not _outcome(json.loads((target / _RESULTS).read_text())).is_good
    except (OSError, ValueError):  # killed before it could write them
        return True


def publish(path: str | Path | None = None) -> Path:
    """Copy the warehouse for readers, and replace the last copy atomically.

    A reader that has the last copy open keeps reading it; the next one opens the new copy. No reader waits.
    """
    from models_py.warehouse.database import open_warehouse

    warehouse, target = warehouse_path(path), published_path(path)
    try:
        is_shared = Session.is_held_here(warehouse)
        with replacing(target) as partial, open_warehouse(warehouse) as con:
            remove_leftovers(target)  # whoever publishes has the warehouse, so nobody else writes one
            check_views(con)
            copy_database(con, warehouse, partial, is_shared=is_shared)
    except (OSError, duckdb.Error) as error:
        raise WarehouseError(f"{target}: cannot be written, so readers keep the last one: {error}") from error
    return target


def copy_database(con: duckdb.DuckDBPyConnection, warehouse: Path, target: Path, *, is_shared: bool) -> None:
    """Copy a consistent state of a warehouse; `is_shared` says that other threads of this process may write it."""
    if is_shared:
        _copy_rows(con, target)
    else:
        _copy_file(con, warehouse, target)


def check_views(con: duckdb.DuckDBPyConnection) -> None:
    """Raise WarehouseError if a KPI view cannot be read, as in a renamed file whose views name the old one."""
    for name, _ in con.execute(KPI_VIEWS).fetchall():
        try:
            con.execute(f'describe "{name}"')
        except duckdb.Error as error:
            reason = str(error).splitlines()[0].rstrip(".!")
            raise WarehouseError(
                f"The view {name} cannot be read: {reason}. `duckspect build` makes all of its views again; "
                "drop the view if it is one of your own."
            ) from error


def _copy_file(con: duckdb.DuckDBPyConnection, warehouse: Path, partial: Path) -> None:
    """Copy the file: we have DuckDB's lock, and nothing else in this process writes.

    Another process copies it. POSIX locks belong to a process and a file: if this one opened and closed the file once
    more, DuckDB's lock on it would be gone.
    """
    con.execute("checkpoint")
    command = [sys.executable, "-c", _COPY, str(warehouse), str(partial)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise OSError((done.stderr.strip().splitlines() or [f"copying ended with {done.returncode}"])[-1])


def _copy_rows(con: duckdb.DuckDBPyConnection, partial: Path) -> None:
    """Copy what one transaction sees, while other threads of this process go on writing."""
    name = con.execute("select current_database()").fetchall()[0][0]
    con.execute("attach '{}' as published_copy".format(str(partial).replace("'", "''")))
    try:
        con.execute(f'copy from database "{name}" to published_copy')
    finally:
        con.execute("detach published_copy")


_BEYOND_LIMITS = """
select
    versions.version_id, points.threshold, points.escape_count, points.overkill_count, points.alternative_threshold,
    points.alternative_escape_count, points.alternative_overkill_count, points.are_limits_possible,
    points.defective_count, points.good_count, points.escape_limit, points.overkill_limit
from eval_operating_points as points
join dim_model_versions as versions using (model, version)
where versions.is_champion and points.subset = 'validation' and not points.is_within_limits
order by versions.version_id
"""


def limit_warnings(con: duckdb.DuckDBPyConnection) -> list[str]:
    """A warning for each champion whose threshold makes more mistakes than its limits allow, with the remedy."""
    built = "select 1 from duckdb_tables() where schema_name = 'main' and table_name = 'eval_operating_points'"
    if not con.execute(built).fetchall():
        return []
    return [_limit_warning(*row) for row in con.execute(_BEYOND_LIMITS).fetchall()]


def _limit_warning(reference: str, *numbers: Any) -> str:
    from models_py.metrics import LimitBreach, MistakeLimits, MistakeRates

    point, alternative, (are_both_possible, defective, good) = numbers[:3], numbers[3:6], numbers[6:9]
    return LimitBreach(
        MistakeRates(*point),
        None if alternative[0] is None else MistakeRates(*alternative),
        are_both_possible,
        defective,
        good,
        MistakeLimits(*numbers[9:]),
    ).sentence(reference)
