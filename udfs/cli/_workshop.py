"""Commands of the workshop: train, evaluate, tune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models_py.model.architectures import TASKS, list_architectures
from models_py.warehouse.access import PATIENCE
from udfs.cli._data import AsJson, Publish, Warehouse

_CHOICES = "; ".join(f"{task}: {', '.join(item.name for item in list_architectures(task))}" for task in TASKS)

Task = Annotated[str, typer.Option("--task", "-t", help="classify, detect, segment or anomaly.")]
Query = Annotated[
    str | None, typer.Option("--query", "-q", help="SQL whose rows are the images and labels; - reads standard input.")
]
QueryFile = Annotated[Path | None, typer.Option("--file", "-f", help="Read the SQL from a file.")]
Architecture = Annotated[
    str | None, typer.Option("--architecture", "-a", help=f"The task's first if left out. {_CHOICES}.")
]
Wait = Annotated[
    float,
    typer.Option(
        min=0, metavar="SECONDS", help="How long to wait at the end for another process that writes the warehouse."
    ),
]
Given = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", help="Option as epochs=30; `duckspect architectures NAME` lists them. Repeatable."),
]


def train(
    name: Annotated[str, typer.Argument(help="Name of the model; a new version of it if it exists.")],
    task: Task,
    query: Query = None,
    file: QueryFile = None,
    architecture: Architecture = None,
    option: Given = None,
    weights: Annotated[str | None, typer.Option(help="Start from: starter, imagenet, coco, none, or a file.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, 0, or 0,1 for several GPUs.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the same training after Ctrl-C or a kill.")
    ] = False,
    wait: Wait = PATIENCE,
    publish: Publish = True,
    warehouse: Warehouse = None,
    as_json: AsJson = False,
) -> None:
    """Train a model on the rows of a query and register it as the challenger.

    Example: duckspect train pcb --task detect --query "from raw.current_annotations"
    """
    from udfs.cli._sql import read_query
    from udfs.cli._train import options_of_line, run_training

    given = options_of_line(option or [], weights=weights, device=device)
    run_training(
        warehouse,
        name,
        task,
        read_query(query, file),
        architecture,
        given,
        resume=resume,
        patience=wait,
        publishing=publish,
        as_json=as_json,
    )


def evaluate(
    model: Annotated[str, typer.Argument(help="name, name@alias or name@version.")],
    query: Query = None,
    file: QueryFile = None,
    split: Annotated[
        str, typer.Option(help="Without a query: val, on which its threshold was chosen, or test, which nothing saw.")
    ] = "val",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or 0.")] = "auto",
    warehouse: Warehouse = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model on the rows of any labelled query; without one, on its own frozen rows.

    Example: duckspect evaluate pcb@challenger --query "from raw.current_annotations"
    """
    from udfs.cli._sql import read_query
    from udfs.cli._train import run_evaluation

    sql = read_query(query, file) if query or file else None
    run_evaluation(warehouse, model, sql, split, device, as_json=as_json)


def tune(
    name: Annotated[str, typer.Argument(help="Name of the model; the best trial becomes its next version.")],
    task: Task,
    query: Query = None,
    file: QueryFile = None,
    architecture: Architecture = None,
    option: Given = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials in all, those of a killed study included.")] = 20,
    parallel: Annotated[int, typer.Option(min=1, help="Trials at once, in processes of their own.")] = 1,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, or 0,1: the trials take turns.")] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Train from scratch and fine-tune untuned too, for the table.")
    ] = False,
    wait: Wait = PATIENCE,
    publish: Publish = True,
    warehouse: Warehouse = None,
    as_json: AsJson = False,
) -> None:
    """Search for better training options; run again to go on with a killed study.

    Example: duckspect tune pcb --task detect --query "from pcb_rows" --trials 20 --parallel 2
    """
    from udfs.cli._sql import read_query
    from udfs.cli._train import options_of_line
    from udfs.cli._tune import run_tuning

    given = options_of_line(option or [], weights=None, device=device)
    sql = read_query(query, file)
    run_tuning(
        warehouse,
        name,
        task,
        sql,
        architecture,
        given,
        trials=trials,
        parallel=parallel,
        compare=compare,
        patience=wait,
        publishing=publish,
        as_json=as_json,
    )


def architectures(
    name: Annotated[str | None, typer.Argument(help="Show the training options of this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the architectures of every task, or the options of one.

    Example: duckspect architectures yolo11n
    """
    from udfs.cli._train import show_architectures, show_options

    show_options(name, as_json=as_json) if name else show_architectures(as_json=as_json)
