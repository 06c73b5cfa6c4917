"""The models of the demo: a board detector fine-tuned from starter weights, and what good tiles look like."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models_py.metrics.evaluation import evaluate_model
from models_py.registry import Version, aliases, frozen_rows, list_versions, load, promote
from models_py.training.plan import plan
from models_py.training.train import carry_out
from models_py.warehouse.access import AT_FIRST, WarehouseAccess, open_patiently
from models_py.warehouse.database import sql_folder
from udfs import connect
from udfs.cli.output import emit, emit_table, note
from udfs.cli.train import shown

# One image each to learn from, to validate and to test: a plant of fifty units has rarer defects.
_FREQUENT = "qualify count(distinct uri) over (partition by label) >= 3"
_UNITS_OF_ALL_HOURS = 600
"""A smaller plant has fewer boards to learn from, and its detector a share of the hours."""
_ROWS_SHOWN = 3
_LABELLED = "from raw.current_annotations join raw.inspections using (uri) where product_type like"


@dataclass(frozen=True, slots=True)
class DemoModel:
    """What is trained, and the metrics that are shown of it."""

    name: str
    task: str
    query: str
    metrics: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


MODELS = (
    DemoModel(
        "pcb",
        "detect",
        f"select uri as image, label, x1, y1, x2, y2 {_LABELLED} 'PCB-%' and kind in ('box', 'class') {_FREQUENT}",
        ("map50", "precision50", "recall50"),
        {"epochs": 3, "batch": 8, "mosaic": 0.0, "zoom": 0.1, "learning_rate": 3e-4, "hours": 0.025, "test": 0.2},
    ),
    DemoModel(
        "tile",
        "anomaly",
        f"select uri as image, label {_LABELLED} 'TILE-%' and kind = 'class'",
        ("image_auroc", "f1_max"),
        {"test": 0.2},
    ),
)


def train_models(warehouse: Path | None, units: int) -> None:
    """Train what is not trained on these rows yet, make it the champion, and print what each reaches."""
    rows = []
    for model in MODELS:
        version = _train(warehouse, model, min(1.0, units / _UNITS_OF_ALL_HOURS))
        with connect(warehouse) as con:
            if "champion" not in aliases(con, model.name):
                promote(con, version.reference)
            rows += _measured(con, version, model.metrics)
    emit("Models, on test images that neither training nor the threshold saw")
    emit_table(["model", "architecture", "images", "metric", "value"], rows)


def _train(warehouse: Path | None, model: DemoModel, share_of_hours: float) -> Version:
    """The version that is trained on these rows; a training that was stopped goes on."""
    options = {name: value * share_of_hours if name == "hours" else value for name, value in model.options.items()}
    with shown(is_brief=True) as report:
        with open_patiently(lambda: connect(warehouse), AT_FIRST, report.note) as con:
            planned = plan(con, name=model.name, task=model.task, query=model.query, options=options, report=report)
            version = _known(con, model.name, planned.dataset.sha256)
        if version is None:
            report.note(f"Training {model.name} on {len(planned.dataset.part('train'))} images.")
            version = carry_out(WarehouseAccess(warehouse), planned, report, resume=True)
    return version


def answer(warehouse: Path | None) -> None:
    """Score the tiles, and print what one query of the cookbook says of them."""
    file = sql_folder() / "queries" / "unusual_tiles_by_station.sql"
    query = file.read_text()
    note("Scoring the tiles.")
    with connect(warehouse) as con:
        found = con.execute(query)
        columns = [column[0] for column in found.description or ()]
        rows = found.fetchmany(_ROWS_SHOWN)
    emit(f"{query.splitlines()[0].removeprefix('-- ')} The first rows of sql/queries/{file.name}:")
    emit_table(columns, rows)


def _known(con: Any, name: str, dataset: str) -> Version | None:
    return next((item for item in list_versions(con, name) if item.snapshot_sha256 == dataset), None)


def _measured(con: Any, version: Version, metrics: tuple[str, ...]) -> list[list[Any]]:
    """A row for each metric, measured on the images that were set apart."""
    examples = frozen_rows(con, version, "test")
    found = evaluate_model(load(con, version), examples).metrics
    values = [(name, found.get(name)) for name in metrics]
    return [
        [version.reference, version.architecture, len(examples), name, None if value is None else round(value, 3)]
        for name, value in values
    ]
