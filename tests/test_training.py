"""Training from a query to a registered version, for every task."""

import json
from dataclasses import replace

import pytest
import torch
from drawn import SIDE, draw_parts, fill_table

from models_py.errors import DuckspectError
from models_py.model.architectures import TASKS
from models_py.model.options import TrainingOptions, as_dict, describe, parse_options, search_space
from models_py.progress import SilentReport, TrainingStoppedError
from models_py.registry import find, limit_warning, load
from models_py.task import find_task, options_of
from models_py.training.plan import plan
from models_py.training.train import train
from udfs import connect

QUERIES = {
    "classify": "select image, label from parts",
    "detect": "select image, label, x1, y1, x2, y2 from parts",
    "segment": "select image, label, mask from parts",
    "anomaly": "select image, label, mask from parts",
}
NETWORKS = {"classify": "mobilenet_v3_small"}  # the default on a CPU has no epochs
QUICK = {"epochs": 2, "batch": 8, "image_size": SIDE, "weights": "none", "precision": "fp32"}
LEARNS = {
    "classify": ({"epochs": 12, "learning_rate": 3e-3}, "accuracy", 0.9),
    "detect": ({"epochs": 30, "batch": 4}, "map50", 0.5),
    "segment": ({"epochs": 12, "learning_rate": 5e-3}, "mean_iou", 0.5),
    "anomaly": ({"layers": "1,2"}, "image_auroc", 0.9),
}
STAGES = {
    "classify": ("Settling batch norms", "Validating"),
    "detect": ("Decoding images", "Validating"),
    "segment": ("Settling batch norms", "Validating"),
    "anomaly": ("Computing features", "Choosing patches"),
}


class Told(SilentReport):
    """Remembers what training said."""

    def __init__(self, stop_after=None):
        self.epochs, self.steps, self.notes, self.stages, self.stop_after = [], [], [], {}, stop_after

    def step(self, epoch, epochs, step, steps, loss):  # noqa: ARG002
        self.steps.append((epoch, step))

    def epoch(self, epoch, metrics):
        self.epochs.append((epoch, dict(metrics)))
        if self.stop_after == epoch:
            raise TrainingStoppedError("that is enough")

    def note(self, text):
        self.notes.append(text)

    def progress(self, what, done, total, unit="images", words=""):  # noqa: ARG002
        self.stages.setdefault(what, []).append((done, total))


@pytest.fixture
def con(tmp_path):
    with connect(tmp_path / "w.duckdb") as opened:
        fill_table(opened, draw_parts(tmp_path / "parts"))
        yield opened


def weights_of(con, version):
    return load(con, version).state()


@pytest.mark.parametrize("task", TASKS)
def test_a_model_learns_drawn_defects(con, task):
    options, metric, least = LEARNS[task]
    told = Told()
    version = train(
        con,
        name="part",
        task=task,
        architecture=NETWORKS.get(task),
        query=QUERIES[task],
        options={**QUICK, **options},
        report=told,
    )
    assert version.reference == "part@1"
    assert version.metrics[metric] > least
    assert version.train_query == QUERIES[task]
    assert find(con, "part@challenger") == version
    logged = con.execute("select distinct metric from ml.training_metrics").fetchall()
    assert {metric for (metric,) in logged} == {name for _, metrics in told.epochs for name in metrics}
    assert con.execute("select status, version, error from ml.training_runs").fetchall() == [("finished", 1, None)]
    threshold, why = con.execute("select threshold, chosen_by from ml.thresholds").fetchone()
    assert load(con, "part@1").spec.thresholds == {"*": threshold}
    assert "validation" in why
    assert not list((con_folder(con) / "runs").iterdir())
    for stage in ("Reading images", "Evaluating", *STAGES[task]):
        done, total = told.stages[stage][-1]
        assert done == total, stage
    assert told.stages["Registering"] == [(0, None)]


def test_a_threshold_that_rejects_what_is_good_is_said_when_training_ends(con):
    told = Told()
    # Nothing to be seen in an image tells its label, so that no escapes means rejecting good ones.
    query = r"select image, if(regexp_extract(image, '(\d+)\.png', 1)::int % 2 = 0, 'good', 'bar') as label from parts"
    options = {**QUICK, "epochs": 1, "escape_cost": 1e6, "overkill_limit": 0}
    version = train(
        con, name="part", task="classify", architecture="mobilenet_v3_small", query=query, options=options, report=told
    )
    assert told.notes[-1] == f"Warning: {limit_warning(con, version)}"
    assert "part@1 rejects" in told.notes[-1]


def con_folder(con):
    from models_py.registry import artifacts_folder

    return artifacts_folder(con).parent


@pytest.mark.parametrize("task", TASKS)
def test_the_same_rows_options_and_seed_give_the_same_weights_bit_for_bit(con, task):
    first = train(con, name="part", task=task, architecture=NETWORKS.get(task), query=QUERIES[task], options=QUICK)
    again = train(
        con,
        name="part",
        task=task,
        architecture=NETWORKS.get(task),
        query=QUERIES[task] + " order by random()",
        options=QUICK,
    )
    other = train(
        con, name="part", task=task, architecture=NETWORKS.get(task), query=QUERIES[task], options={**QUICK, "seed": 1}
    )
    one, two, three = (weights_of(con, version) for version in (first, again, other))
    assert first.snapshot_sha256 == again.snapshot_sha256
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(one[name].shape == three[name].shape and torch.equal(one[name], three[name]) for name in one)


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_a_stopped_training_goes_on_and_ends_as_if_it_had_not_stopped(con, task):
    options = {**QUICK, "epochs": 4}
    whole = train(con, name="whole", task=task, architecture=NETWORKS.get(task), query=QUERIES[task], options=options)
    with pytest.raises(TrainingStoppedError):
        train(
            con,
            name="part",
            task=task,
            architecture=NETWORKS.get(task),
            query=QUERIES[task],
            options=options,
            report=Told(stop_after=2),
        )
    assert con.execute("select status, error from ml.training_runs where name = 'part'").fetchall() == [
        ("stopped", "that is enough")
    ]
    told = Told()
    resumed = train(
        con,
        name="part",
        task=task,
        architecture=NETWORKS.get(task),
        query=QUERIES[task],
        options=options,
        report=told,
        resume=True,
    )
    assert [epoch for epoch, _ in told.epochs] == [3, 4]
    one, two = weights_of(con, whole), weights_of(con, resumed)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_stopped_yolo_goes_on_with_its_own_trainer(con):
    options = {**QUICK, "epochs": 3}
    with pytest.raises(TrainingStoppedError):
        train(con, name="part", task="detect", query=QUERIES["detect"], options=options, report=Told(stop_after=1))
    told = Told()
    train(con, name="part", task="detect", query=QUERIES["detect"], options=options, report=told, resume=True)
    assert [epoch for epoch, _ in told.epochs] == [2, 3]


def test_training_stops_early_when_nothing_gets_better(con):
    options = {**QUICK, "epochs": 50, "patience": 2, "learning_rate": 0.0}
    told = Told()
    train(
        con,
        name="part",
        task="classify",
        architecture="mobilenet_v3_small",
        query=QUERIES["classify"],
        options=options,
        report=told,
    )
    assert len(told.epochs) < 10


def test_training_stops_when_its_time_is_over(con):
    told = Told()
    options = {**QUICK, "epochs": 500, "hours": 0.5 / 3600}
    train(
        con,
        name="part",
        task="classify",
        architecture="mobilenet_v3_small",
        query=QUERIES["classify"],
        options=options,
        report=told,
    )
    assert len(told.epochs) < 500


@pytest.mark.parametrize(
    ("task", "query", "words"),
    [
        ("classify", "select image, label from parts where false", "no rows"),
        ("classify", "select image from parts", "column label"),
        ("classify", "select image, 'good' as label from parts", "every image is good"),
        ("classify", "select image, label from parts limit 1", "too few images"),
        ("detect", "select image, label, x1, y1, x2, y2 from parts where label = 'good'", "no row has one"),
        (
            "classify",
            "select image, case when image like '%part000%' then 'rare' else label end as label from parts",
            "'rare' has one image",
        ),
        ("classify", "select image || 'x' as image, label from parts", "36 of 36 images cannot be used"),
        (
            "anomaly",
            "select image, label from parts where label <> 'good'",
            "learns from good images, but none of 24 images is one: they are bar, spot. Add images whose label is good",
        ),
        (
            "anomaly",
            "select image, label, 'one' as unit from parts",
            "every good image is held out, by its split or because its unit or template has defective images too",
        ),
        ("guess", "select 1", "must be one of classify, detect, segment, anomaly"),
    ],
)
def test_bad_rows_are_said_before_training_starts(con, task, query, words):
    with pytest.raises(DuckspectError, match=words):
        train(con, name="part", task=task, query=query, options={**QUICK} if task in TASKS else {})
    assert con.execute("select count(*) from ml.model_versions").fetchone() == (0,)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epoch": 3}, "epoch: no such option for ClassifyOptions. Valid options: backbone, balance, batch,"),
        ({"epochs": "many"}, "epochs: must be a whole number, but is 'many'"),
        ({"epochs": 0}, "epochs: must be at least 1, but is 0"),
        ({"smoothing": 0.9}, "smoothing: must be between 0 and 0.5"),
        ({"weights": "elsewhere"}, "starts from imagenet, starter, none or a file"),
        ({"device": "tpu"}, "device: must be auto, cpu"),
        ({"duplicates": "majority"}, "duplicates: must be one of refuse, newest, drop, but is 'majority'"),
        ({"precision": "fp8"}, "precision: must be auto, fp32 or bf16"),
    ],
)
def test_bad_options_are_said_with_the_choices(con, options, words):
    with pytest.raises(DuckspectError, match=words.replace("(", r"\(")):
        train(
            con,
            name="part",
            task="classify",
            architecture="mobilenet_v3_small",
            query=QUERIES["classify"],
            options={**QUICK, **options},
        )


def test_an_unknown_architecture_lists_those_of_the_task(con):
    with pytest.raises(DuckspectError, match=r"there is no 'yolo99' for detect. Choose one of yolo11n, .*ssdlite320"):
        train(con, name="part", task="detect", query=QUERIES["detect"], architecture="yolo99")


def test_no_unit_is_on_both_sides_of_a_training(con, tmp_path):
    con.execute(
        "insert into raw.inspections (inspection_id, unit_id, image_id, uri, ingested_at) "
        "select filename, 'unit ' || (row_number() over (order by filename) // 5), sha256(content), filename, now() "
        "from read_blob(?)",
        [str(tmp_path / "parts/part???.png")],
    )
    planned = plan(
        con, name="part", task="classify", architecture="mobilenet_v3_small", query=QUERIES["classify"], options=QUICK
    )
    sides = {}
    for row in planned.dataset.rows:
        sides.setdefault(row.group, set()).add(row.split)
    assert len(sides) < len(planned.dataset.rows)
    assert all(len(splits) == 1 for splits in sides.values())


@pytest.mark.parametrize("task", TASKS)
def test_options_survive_text_and_json(task):
    kind = options_of(task)
    texts = {name: str(value) for name, value in as_dict(kind()).items()}
    assert parse_options(kind, texts) == kind()
    assert parse_options(kind, json.loads(json.dumps(as_dict(kind())))) == kind()
    assert len(describe(kind)) == len(as_dict(kind()))
    assert all(name in as_dict(kind()) for name in search_space(kind))
    assert replace(kind(), epochs=3).epochs == 3
    assert issubclass(kind, TrainingOptions)
    assert find_task(task).primary


def test_frozen_lower_layers_of_a_segmenter_do_not_move(con):
    options = {**QUICK, "epochs": 1, "freeze": 2}
    version = train(con, name="part", task="segment", query=QUERIES["segment"], options=options)
    free = train(con, name="free", task="segment", query=QUERIES["segment"], options={**options, "freeze": 0})
    longer = train(con, name="part", task="segment", query=QUERIES["segment"], options={**options, "epochs": 2})
    one, two, other = (weights_of(con, item) for item in (version, longer, free))
    lower = "encoder.features.0.0.weight"
    assert torch.equal(one[lower], two[lower])
    assert not torch.equal(one[lower], other[lower])


def test_a_defect_free_set_gets_its_threshold_from_a_quantile(con):
    query = "select image, label from parts where label = 'good'"
    train(con, name="part", task="anomaly", query=query, options={**QUICK, "normal_quantile": 0.9})
    (why,) = con.execute("select chosen_by from ml.thresholds").fetchone()
    assert "quantile" in why
    assert "0.9" in why


def test_an_epoch_without_its_rows_gets_them_when_the_training_goes_on(con):
    options = {**QUICK, "epochs": 4}

    def run(stop_after):
        with pytest.raises(TrainingStoppedError):
            train(
                con,
                name="part",
                task="classify",
                architecture="mobilenet_v3_small",
                query=QUERIES["classify"],
                options=options,
                report=Told(stop_after),
                resume=True,
            )

    run(1)
    run(2)
    count = "select epoch, metric, count(*) from ml.training_metrics group by all having count(*) > 1"
    assert con.execute(count).fetchall() == []
    wanted = con.execute("select metric, value from ml.training_metrics where epoch = 2 order by all").fetchall()
    con.execute("delete from ml.training_metrics where epoch = 2")  # killed between the checkpoint and its rows
    run(3)
    assert con.execute("select distinct epoch from ml.training_metrics order by 1").fetchall() == [(1,), (2,), (3,)]
    found = con.execute("select metric, value from ml.training_metrics where epoch = 2 order by all").fetchall()
    assert found == wanted
    assert con.execute(count).fetchall() == []
