"""Delete versions, remove folders without a row, and mark runs whose process has ended."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from models_py.errors import RegistryError
from models_py.registry.aliases import aliases
from models_py.registry.registration import INCOMING, registering
from models_py.registry.versions import Version, find, list_versions
from models_py.warehouse.database import artifacts_folder, file_of, runs_folder, transaction
from models_py.warehouse.folder_lock import holder_of

if TYPE_CHECKING:
    import duckdb


_RUNNING = """
select 'training_runs' as table_name, run_id as id, left(run_id, -9) as folder
from ml.training_runs where status = 'running'
union all
select distinct 'trials', study, study from ml.trials where status = 'running'
"""
_STOPPED = {
    "training_runs": """
    update ml.training_runs set status = 'stopped', error = 'killed', finished_at = greatest(started_at, (
        select max(measured_at) from ml.training_metrics where training_metrics.run_id = training_runs.run_id
    )) where run_id = ? and status = 'running'
    """,
    "trials": "update ml.trials set status = 'failed', finished_at = now() where study = ? and status = 'running'",
}
_FORGET = "delete from ml.compiled_models where artifact_sha256 not in (select artifact_sha256 from ml.model_versions)"


def delete(con: duckdb.DuckDBPyConnection, reference: str) -> Version:
    """Delete one version that no alias names.

    The row is deleted before the folder: a kill in between leaves a folder, which `models gc` removes, but never a row
    without its folder.
    """
    version = find(con, reference)
    names = [alias for alias, number in aliases(con, version.name).items() if number == version.version]
    if names:
        raise RegistryError(
            f"{version.reference} is the {' and '.join(names)}, so it was not deleted. Promote another version first."
        )
    with transaction(con):
        for table in ("version_images", "model_versions"):
            con.execute(f"delete from ml.{table} where name = ? and version = ?", [version.name, version.version])
        con.execute(_FORGET)
    shutil.rmtree(version.folder, ignore_errors=True)
    # Two versions with the same artifact share its compiled form, which is named by the artifact's hash.
    if not any(item.artifact_sha256 == version.artifact_sha256 for item in list_versions(con)):
        version.compiled_file.unlink(missing_ok=True)
    return version


def collect_garbage(con: duckdb.DuckDBPyConnection) -> list[Path]:
    """Remove artifacts and compiled forms without a row, unfinished registrations, and checkpoints of finished runs."""
    with registering:  # a version that is being registered has its folder before its row
        unused_folders = _without_a_row(con)
    # A run's id is the name of its folder (the plan's id) with nine characters added.
    finished = {
        str(plan)
        for (plan,) in con.execute(
            "select left(run_id, -9) from ml.training_runs group by 1 having arg_max(status, started_at) = 'finished'"
        ).fetchall()
    }
    root = artifacts_folder(con)
    runs = root.parent / "runs"
    unused_folders += [folder for folder in runs.glob("*") if folder.name in finished and holder_of(folder) is None]
    kept = {version.compiled_file for version in list_versions(con) if version.compiled_sha256}
    unused = [file for file in (root.parent / "compiled").glob("*") if file not in kept]
    for file in unused:
        file.unlink(missing_ok=True)
    for folder in unused_folders:
        shutil.rmtree(folder, ignore_errors=True)
    for folder in root.glob("*"):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return [*unused_folders, *unused]


def stop_dead_runs(con: duckdb.DuckDBPyConnection) -> None:
    """Mark runs as stopped whose status is running but whose folder nobody has locked: their process was killed."""
    file = file_of(con)
    if file is None:
        return
    for table, name, folder in con.execute(_RUNNING).fetchall():
        if holder_of(runs_folder(file) / folder) is None:
            con.execute(_STOPPED[table], [name])


def _without_a_row(con: duckdb.DuckDBPyConnection) -> list[Path]:
    """Artifact folders that no version names, except those that this process is writing."""
    root, ours = artifacts_folder(con), f"{INCOMING}{os.getpid()}-"
    kept = {version.folder for version in list_versions(con)}
    return [
        folder
        for folder in root.glob("*/*")
        if folder.is_dir() and folder not in kept and not folder.name.startswith(ours)
    ]
