"""The registry: whole versions or none, verified artifacts, aliases with a history, models in and out."""

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace

import pytest
import torch
from conftest import picture
from drawn import SIDE, draw_parts, fill_table

from models_py.datasets import freeze
from models_py.errors import DuckspectError, RegistryError
from models_py.model.preprocess import Preprocess
from models_py.model.trained_model import ModelSpec
from models_py.registry import (
    Origin,
    aliases,
    artifacts_folder,
    check_threshold,
    collect_garbage,
    delete,
    doubts_about,
    find,
    history,
    limit_warning,
    list_versions,
    load,
    load_artifact,
    promote,
    register,
    rollback,
    set_operating_point,
    transfer,
)
from models_py.registry.registration import INCOMING
from models_py.task import Threshold
from models_py.tasks.classify.task import rebuild_empty
from udfs import connect
from udfs.cli.app import app

LABELS = ("bar", "good", "spot")


@pytest.fixture
def con(tmp_path):
    with connect(tmp_path / "w.duckdb") as opened:
        fill_table(opened, draw_parts(tmp_path / "parts", count=24))
        yield opened


def classifier(says=None, seed=0):
    """A small classifier with random weights; with `says`, one that says the same of every image."""
    torch.manual_seed(seed)
    model = rebuild_empty(ModelSpec("classify", "mobilenet_v3_small", LABELS, Preprocess(SIDE), {}))
    if says is not None:
        last = model.network.classifier[-1]
        torch.nn.init.zeros_(last.weight)
        last.bias.data = torch.tensor([9.0 * (label == says) for label in LABELS])
    return model


def add(con, name="part", says=None, seed=0, threshold=None, dataset=None):
    origin = Origin({"epochs": 1}, {"accuracy": 0.5}, dataset)
    return register(con, name, classifier(says, seed), [picture(1), picture(2)], threshold, origin)


def test_versions_count_up_and_the_newest_is_the_challenger(con):
    assert [add(con, seed=seed).reference for seed in range(3)] == ["part@1", "part@2", "part@3"]
    assert add(con, name="other").reference == "other@1"
    assert aliases(con, "part") == {"challenger": 3}
    assert [item.reference for item in list_versions(con)] == ["other@1", "part@3", "part@2", "part@1"]


def test_a_loaded_model_is_the_registered_one_bit_for_bit(con):
    add(con, seed=5, threshold=Threshold(0.25, "cheap"))
    model = load(con, "part@challenger")
    wanted = classifier(seed=5).state()
    assert all(torch.equal(value, wanted[key]) for key, value in model.state().items())
    assert model.spec.thresholds == {"*": 0.25}
    set_operating_point(con, "part@1", 0.5, "an audit")
    set_operating_point(con, "part@1", 0.7, "spots are dear", label="spot")
    assert load(con, "part@1").spec.thresholds == {"*": 0.5, "spot": 0.7}
    assert con.execute("select count(*) from ml.thresholds").fetchone() == (3,)


@pytest.mark.parametrize(
    ("value", "label", "words"),
    [
        (1.7, "*", "must be from 0 to 1, between which the scores of a model to classify lie, but is 1.7"),
        (-0.1, "spot", "must be from 0 to 1"),
        (float("nan"), "*", "must be a number, but is nan"),
        (float("inf"), "*", "must be a number, but is inf"),
        (0.5, "spott", r"must be \* or one of bar, good, spot, but is 'spott'. Did you mean 'spot'\?"),
    ],
)
def test_a_threshold_that_no_score_can_reach_is_refused(con, value, label, words):
    add(con)
    with pytest.raises(RegistryError, match=words):
        set_operating_point(con, "part@1", value, "an audit", label=label)
    with pytest.raises(RegistryError, match="reason: must say why"):
        set_operating_point(con, "part@1", 0.5, " ")
    assert load(con, "part@1").spec.thresholds == {}


def test_any_number_is_a_threshold_of_an_anomaly_model():
    check_threshold("anomaly", ("anomaly",), "*", 1700.0)
    check_threshold("anomaly", ("anomaly",), "*", -3.0)
    with pytest.raises(RegistryError, match="must be a number"):
        check_threshold("anomaly", ("anomaly",), "*", float("-inf"))


def test_a_threshold_beyond_all_scores_or_of_a_class_without_one_is_doubted(con):
    version = add(con)
    assert doubts_about(con, version, "*", 0.4) == []
    con.execute(
        "insert into ml.version_images by name select 'part' as name, 1 as version, 'a' as image_id, "
        "'val' as split, 0.2 as score"
    )
    assert doubts_about(con, version, "*", 0.4)[0].startswith("0.4 rejects none of the 1 images that part@1 scored")
    con.execute(
        "create table predictions as select 'part' as model, 1 as version, unnest(['a', 'b', 'c']) as image_id, "
        "unnest([0.2, 0.6, null]::double[]) as score"
    )
    assert doubts_about(con, version, "*", 0.6) == []
    assert doubts_about(con, version, "*", 0.7) == [
        "0.7 rejects none of the 2 images that part@1 scored so far: their scores lie from 0.2 to 0.6."
    ]
    assert doubts_about(con, version, "*", 0.2)[0].startswith("0.2 rejects every one of the 2 images")
    assert "the threshold for 'spot' changes nothing" in doubts_about(con, version, "spot", 0.4)[0]


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("prat", "there is no 'prat'. Registered: part."),
        (
            "part",
            r"no 'champion'. There is part@challenger \(version 1\), part@1. Make one with `duckspect models pr",
        ),
        ("part@7", "part has no '7'. There is part@challenger"),
        ("part@best", "part has no 'best'"),
        ("part@\N{SUPERSCRIPT TWO}", "part has no '\N{SUPERSCRIPT TWO}'"),
    ],
)
def test_a_reference_that_names_nothing_lists_the_choices(con, reference, words):
    add(con)
    with pytest.raises(RegistryError, match=words):
        find(con, reference)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a@b", "a b", "n" * 300])
def test_names_that_could_not_be_referred_to_are_refused(con, name):
    with pytest.raises(RegistryError, match="name: must be"):
        add(con, name=name)


def spoil_json(folder):
    text = (folder / "model.json").read_text()
    (folder / "model.json").write_text(text.replace('"good"', '"fine"'))


def flip_bit(folder):
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)


def cut(folder):
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_json, "model.json: the artifact was changed after it was registered"),
        (flip_bit, "model.safetensors: was changed or truncated"),
        (cut, "model.safetensors: was changed or truncated"),
        (lambda folder: (folder / "model.safetensors").unlink(), "this part of the artifact is missing"),
        (shutil.rmtree, "model.json: the artifact is missing"),
        (lambda folder: (folder / "model.json").write_text("{"), "cannot be read"),
    ],
)
def test_an_artifact_that_is_not_what_was_registered_is_refused(con, spoil, words):
    spoil(add(con).folder)
    with pytest.raises(RegistryError, match=words):
        load(con, "part@1")


def test_an_artifact_of_another_format_is_refused(con):
    folder = add(con).folder
    (folder / "model.json").write_text((folder / "model.json").read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(RegistryError, match="has artifact format 2, but this duckspect"):
        load_artifact(folder)


def test_a_model_that_does_not_reproduce_its_outputs_is_refused_and_leaves_nothing(con, monkeypatch):
    model = classifier()
    altered = {key: value + 0.1 if value.is_floating_point() else value for key, value in model.state().items()}
    monkeypatch.setattr(model, "state", lambda: altered)
    with pytest.raises(RegistryError, match="does not reproduce the trained model's outputs"):
        register(con, "part", model, [picture(1)], None, Origin({}, {}))
    assert list_versions(con) == []
    assert not [path for path in artifacts_folder(con).rglob("*") if path.is_file()]


def test_a_model_whose_outputs_are_no_numbers_is_refused_and_leaves_nothing(con):
    model = classifier()
    model.network.classifier[-1].bias.data[0] = float("nan")
    with pytest.raises(RegistryError, match="outputs are NaN or infinite, so it can judge nothing"):
        register(con, "part", model, [picture(1)], None, Origin({}, {}))
    assert list_versions(con) == []
    assert not [path for path in artifacts_folder(con).rglob("*") if path.is_file()]


def test_what_a_killed_registration_left_is_removed_by_the_next(con):
    add(con)
    left = artifacts_folder(con) / "part" / f"{INCOMING}{os.getpid() + 1}-7"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    add(con)
    assert sorted(path.name for path in left.parent.iterdir()) == ["1", "2"]


def test_the_gate_lets_only_what_is_not_worse_become_champion(con):
    dataset = freeze(con, "select image, if(label = 'bar', 'good', label) as label from parts", "classify")
    add(con, says="good", dataset=dataset)
    version, reason = promote(con, "part@1")
    assert (version.reference, reason) == ("part@1", "the first champion")
    assert aliases(con, "part") == {"champion": 1}
    add(con, says="spot", dataset=dataset)
    with pytest.raises(RegistryError, match=r"part@2 was not promoted: accuracy on .*, worse than .* of version 1"):
        promote(con, "part")
    assert aliases(con, "part") == {"challenger": 2, "champion": 1}
    assert promote(con, "part@2", force="the auditor asked")[1] == "the auditor asked"
    add(con, says="good", dataset=dataset)
    assert "not worse than" in promote(con, "part@3")[1]
    with pytest.raises(RegistryError, match="part@3 is the champion already"):
        promote(con, "part@3")
    with pytest.raises(RegistryError, match="alias: must be a word"):
        promote(con, "part@1", alias="7")
    promote(con, "part@1", alias="line_2")
    assert aliases(con, "part") == {"champion": 3, "line_2": 1}


def test_a_threshold_beyond_its_limits_is_told_whoever_promotes_or_changes_it(tmp_path, con, capsys):
    dataset = freeze(con, "select image, label from parts", "classify")
    held_out = dataset.part("val")
    scores = {item.sha256: 0.8 if item.is_defective else 0.6 for item in held_out}
    version = add(con, threshold=Threshold(0.5, "escapes are dear", scores), dataset=dataset)
    good = sum(not item.is_defective for item in held_out)
    words = f"part@1 rejects {good} of {good} good validation image"
    assert words in limit_warning(con, version)
    assert "`duckspect models threshold part@1 0.7" in limit_warning(con, version)
    kept = con.execute("select split, count(score), count(is_defective) from ml.version_images group by 1 order by 1")
    assert kept.fetchall() == [("train", 0, 0), ("val", len(held_out), len(held_out))]
    con.close()
    warehouse = ["-w", str(tmp_path / "w.duckdb")]
    app(["models", "promote", "part", *warehouse], standalone_mode=False)
    assert f"Warning: {words}" in capsys.readouterr().err
    app(["models", "threshold", "part", "0.7", "--reason", "as told", *warehouse], standalone_mode=False)
    assert capsys.readouterr().err == ""


def test_a_version_without_scores_of_its_validation_images_has_no_warning(con):
    dataset = freeze(con, "select image, label from parts", "classify")
    assert limit_warning(con, add(con, threshold=Threshold(0.5, "imported"), dataset=dataset)) is None
    scores = {item.sha256: 0.6 for item in dataset.part("val")}
    version = add(con, threshold=Threshold(0.5, "escapes are dear", scores), dataset=dataset)
    assert "No threshold keeps both limits" in limit_warning(con, version)
    assert limit_warning(con, replace(version, params={"overkill_limit": 1.0})) is None


def test_the_gate_says_what_it_cannot_compare(con):
    add(con)
    promote(con, "part@1")
    add(con)
    with pytest.raises(RegistryError, match="not promoted: it was imported without rows"):
        promote(con, "part@2")
    dataset = freeze(con, "select image, if(label = 'bar', 'dent', label) as label from parts", "classify")
    add(con, dataset=dataset)
    with pytest.raises(RegistryError, match="not promoted: version 1 does not know the class 'dent'"):
        promote(con, "part@3")
    assert aliases(con, "part") == {"challenger": 3, "champion": 1}


def test_of_every_alias_exactly_one_period_is_open_and_none_overlap(con):
    for seed in range(3):
        add(con, seed=seed)
        promote(con, f"part@{seed + 1}", force="test")
        promote(con, f"part@{seed + 1}", alias="line_2")
    rollback(con, "part")
    open_now = con.execute(
        "select alias, count(*) from ml.alias_history where valid_to is null group by alias order by alias"
    ).fetchall()
    assert open_now == [("champion", 1), ("line_2", 1)]
    overlaps = con.execute(
        "select count(*) from ml.alias_history as a join ml.alias_history as b on a.alias = b.alias "
        "and a.valid_from < b.valid_from and (a.valid_to is null or a.valid_to > b.valid_from)"
    ).fetchone()
    assert overlaps == (0,)


def test_rollback_is_a_new_row_and_goes_back_step_by_step(con):
    for seed in range(3):
        add(con, seed=seed)
        promote(con, f"part@{seed + 1}", force="test")
    assert rollback(con, "part").version == 2
    assert rollback(con, "part", reason="escapes").version == 1
    with pytest.raises(RegistryError, match="no earlier version was its champion"):
        rollback(con, "part")
    changes = [change for change in history(con, "part") if change.alias == "champion"]
    assert [change.version for change in changes] == [1, 2, 3, 2, 1]
    assert changes[-1].reason == "rollback: escapes"
    assert [change.valid_to for change in changes[:-1]] == [change.valid_from for change in changes[1:]]
    assert changes[-1].valid_to is None


def test_a_version_promoted_again_can_be_rolled_back(con):
    for seed in range(2):
        add(con, seed=seed)
    for number in (1, 2, 1):
        promote(con, f"part@{number}", force="test")
    assert rollback(con, "part").version == 2
    assert rollback(con, "part").version == 1
    with pytest.raises(RegistryError, match="no earlier version was its champion"):
        rollback(con, "part")


def test_a_promotion_whose_reason_speaks_of_a_rollback_is_a_promotion(con):
    for seed in range(3):
        add(con, seed=seed)
        promote(con, f"part@{seed + 1}", force="rollback of the lamp, so train anew")
    assert rollback(con, "part").version == 2


@pytest.mark.parametrize("thresholds", ['{"odd": 0.5}', '{"*": NaN}', '{"*": 1.7}', '{"*": "high"}', "[0.5]"])
def test_an_archive_with_odd_thresholds_is_refused_before_anything_is_registered(tmp_path, con, thresholds):
    version = add(con)
    transfer.export(version, load(con, version), tmp_path / "part.zip")
    with zipfile.ZipFile(tmp_path / "part.zip") as whole, zipfile.ZipFile(tmp_path / "odd.zip", "w") as odd:
        for name in whole.namelist():
            odd.writestr(name, thresholds if name == "thresholds.json" else whole.read(name))
    with pytest.raises(RegistryError, match=r"thresholds\.json: .*must"):
        transfer.import_file(con, tmp_path / "odd.zip", "copy", transfer.TensorFileDescription())
    assert list_versions(con, "copy") == []


def test_metrics_that_are_no_numbers_are_stored_as_null(con):
    origin = Origin({}, {"recall": float("nan"), "precision": 0.5})
    version = register(con, "part", classifier(), [picture(0)], None, origin)
    assert version.metrics == {"recall": None, "precision": 0.5}


def test_which_version_judged_a_board_is_one_asof_join(con):
    for seed in range(2):
        add(con, seed=seed)
        promote(con, f"part@{seed + 1}", force="test")
        con.execute(f"create table seen{seed} as select now() as at_time")
    judged = con.execute(
        "select version from (from seen0 union all from seen1) as seen asof join "
        "(from ml.alias_history where name = 'part' and alias = 'champion') as h on seen.at_time >= h.valid_from "
        "order by 1"
    ).fetchall()
    assert judged == [(1,), (2,)]


def test_what_an_alias_names_is_not_deleted_and_garbage_is_collected(con):
    first, second = add(con, seed=0), add(con, seed=1)
    with pytest.raises(RegistryError, match="part@2 is the challenger, so it was not deleted"):
        delete(con, "part@2")
    delete(con, "part@1")
    assert not first.folder.exists()
    assert [item.reference for item in list_versions(con)] == ["part@2"]
    root = artifacts_folder(con)
    (root / "part/9").mkdir()
    (root / "gone/.incoming-1").mkdir(parents=True)
    under_way = root / f"part/.incoming-{os.getpid()}-7"
    under_way.mkdir()
    assert {folder.name for folder in collect_garbage(con)} == {"9", ".incoming-1"}
    assert second.folder.is_dir()
    assert under_way.is_dir()
    assert not (root / "gone").exists()
    assert add(con).version == 3


def test_the_number_of_a_deleted_version_is_not_given_again(con):
    for seed in range(2):
        add(con, seed=seed)
        promote(con, f"part@{seed + 1}", force="test")
    set_operating_point(con, "part@2", 0.9, "an audit", label="spot")
    rollback(con, "part")
    delete(con, "part@2")
    assert add(con).reference == "part@3"
    assert load(con, "part@3").spec.thresholds == {}


def test_checkpoints_are_garbage_once_the_last_run_of_their_plan_is_finished(con):
    runs = artifacts_folder(con).parent / "runs"
    for plan, statuses in {"a" * 16: ("stopped", "finished"), "b" * 16: ("finished", "stopped")}.items():
        (runs / plan).mkdir(parents=True)
        for number, status in enumerate(statuses):
            con.execute(
                "insert into ml.training_runs (run_id, name, task, architecture, params, snapshot_sha256, status, "
                "started_at) values (?, 'part', 'classify', 'resnet18', '{}', '', ?, to_timestamp(?))",
                [f"{plan}-{number:08x}", status, number],
            )
    assert collect_garbage(con) == [runs / ("a" * 16)]
    assert (runs / ("b" * 16)).is_dir()


def test_a_warehouse_can_be_moved_and_renamed_with_its_files(tmp_path, con):
    add(con, seed=3)
    con.close()
    (tmp_path / "new").mkdir()
    for name in ("w.duckdb", "w_files"):
        shutil.move(tmp_path / name, tmp_path / "new" / name)
    with connect(tmp_path / "new/w.duckdb") as moved:
        assert load(moved, "part@1").labels == LABELS
    (tmp_path / "new/w.duckdb").rename(tmp_path / "new/line.duckdb")
    with connect(tmp_path / "new/line.duckdb") as renamed:
        assert load(renamed, "part@1").labels == LABELS, "the row names the folder as it was"
    (tmp_path / "new/w_files").rename(tmp_path / "new/line_files")
    with connect(tmp_path / "new/line.duckdb") as renamed:
        assert load(renamed, "part@1").labels == LABELS
        assert add(renamed).folder.parents[2] == tmp_path / "new/line_files"


def test_a_model_goes_to_another_warehouse_and_back(tmp_path, con):
    dataset = freeze(con, "select image, label from parts", "classify")
    version = add(con, seed=4, threshold=Threshold(0.3, "cheap"), dataset=dataset)
    set_operating_point(con, "part@1", 0.4, "fewer false alarms")
    set_operating_point(con, "part@1", 0.2, "must not escape", label="spot")
    transfer.export(version, load(con, version), tmp_path / "part.zip")
    with connect(tmp_path / "other.duckdb") as other:
        imported = transfer.import_file(other, tmp_path / "part.zip", "copy", transfer.TensorFileDescription())
        again = load(other, imported)
        assert imported.snapshot_sha256 == version.snapshot_sha256
    wanted = load(con, version)
    assert all(torch.equal(value, wanted.state()[key]) for key, value in again.state().items())
    assert again.spec.thresholds == {"*": 0.4, "spot": 0.2}
    with pytest.raises(RegistryError, match=r"output: must end in \.zip or \.onnx"):
        transfer.export(version, wanted, tmp_path / "part.pkl")


@pytest.mark.parametrize("member", ["../evil", "extra.txt", "model.pkl"])
def test_an_archive_with_anything_else_in_it_is_refused(tmp_path, con, member):
    version = add(con)
    transfer.export(version, load(con, version), tmp_path / "part.zip")
    with zipfile.ZipFile(tmp_path / "part.zip", "a") as archive:
        archive.writestr(member, "x")
    with pytest.raises(RegistryError, match="which is no part of a model"):
        transfer.import_file(con, tmp_path / "part.zip", "copy", transfer.TensorFileDescription())
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda described: described.pop("files"), "model.json: has no 'files'"),
        (lambda described: described.pop("labels"), "model.json: has no 'labels'"),
        (lambda described: described["preprocess"].update(odd=1), "preprocess must be an object of size"),
        (
            lambda described: described["build"].update(odd=1),
            "build must be an object of image_size, backbone, layers for classify",
        ),
        (lambda described: described["labels"].append("more"), "does not fit mobilenet_v3_small"),
        (lambda described: described["files"].update({"golden.safetensors": "0" * 64}), "was changed or truncated"),
    ],
)
def test_an_archive_that_describes_no_model_is_refused_with_a_sentence(tmp_path, con, change, words):
    version = add(con)
    described = json.loads((version.folder / "model.json").read_text())
    change(described)
    (version.folder / "model.json").write_text(json.dumps(described))
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as archive:
        for file in version.folder.iterdir():
            archive.write(file, file.name)
    with pytest.raises(RegistryError, match=words):
        transfer.import_file(con, tmp_path / "odd.zip", "copy", transfer.TensorFileDescription())
    assert list_versions(con, "copy") == []


def test_a_damaged_archive_is_refused_with_a_sentence(tmp_path, con):
    version = add(con)
    transfer.export(version, load(con, version), tmp_path / "part.zip")
    data = bytearray((tmp_path / "part.zip").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "part.zip").write_bytes(data)
    with pytest.raises(RegistryError, match="is no whole model: BadZipFile"):
        transfer.import_file(con, tmp_path / "part.zip", "copy", transfer.TensorFileDescription())


_LOOP = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from test_registry import add
from udfs import connect

left = int(sys.argv[3])
def count_down(frame, event, argument):
    global left
    if event in ("call", "c_call") and "models_py/registry" in frame.f_code.co_filename:
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)  # while it writes the artifact, or one of the rows, or the next one

with connect(sys.argv[1]) as con:
    sys.setprofile(count_down)
    while True:
        add(con)
"""


@pytest.mark.slow  # each process imports torch and registers until it is killed
@pytest.mark.parametrize("calls", [40, 121, 137, 280])
def test_killed_anywhere_there_is_a_whole_version_or_none(tmp_path, calls):
    warehouse = tmp_path / "w.duckdb"
    command = [sys.executable, "-c", _LOOP, str(warehouse), os.path.dirname(__file__), str(calls)]
    with subprocess.Popen(command) as process:
        assert process.wait() == -signal.SIGKILL
    with connect(warehouse) as con:
        versions = list_versions(con, "part")
        assert [item.version for item in versions] == list(range(len(versions), 0, -1))
        for version in versions:
            load(con, version)
        assert aliases(con, "part") == ({"challenger": len(versions)} if versions else {})
        collect_garbage(con)
        folders = {folder.name for folder in artifacts_folder(con).glob("part/*")}
        assert folders == {str(item.version) for item in versions}
        assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pkl", ".pickle", ".pt", ".pth")]
        assert add(con).version == len(versions) + 1


def test_the_command_line_looks_after_models(tmp_path, con, capsys):
    dataset = freeze(con, "select image, label from parts", "classify", test=0.2)
    add(con, says="good", dataset=dataset)
    add(con, says="good", dataset=dataset)
    add(con, says="good", name="other", dataset=freeze(con, "select image, label from parts", "classify"))
    con.close()

    def run(*arguments, group=("models",)):
        app(
            [*group, *arguments, "-w", str(tmp_path / "w.duckdb")], standalone_mode=False
        )  # torch is loaded here already
        return capsys.readouterr().out

    assert "part@2 is the champion: the first champion." in run("promote", "part")
    assert [row["model"] for row in json.loads(run("list", "--json"))] == ["other@1", "part@2", "part@1"]
    assert json.loads(run("show", "part", "--json"))["aliases"] == ["champion"]
    assert json.loads(run("compare", "part@1", "part@2", "--json"))["images"] == len(dataset.part("val"))
    assert "part@1 is the champion: asked" in run("promote", "part@1", "--force", "asked")
    assert "part@2 is the champion again." in run("rollback", "part")
    assert [row["version"] for row in json.loads(run("history", "part", "--json"))][-1] == 2
    assert "the threshold for * is 0.4" in run("threshold", "part", "0.4", "--reason", "audit")
    with pytest.raises(RegistryError, match="must be from 0 to 1"):
        run("threshold", "part", "1.7", "--reason", "audit")
    assert "part@1 is deleted." in run("delete", "part@1")
    assert "0 folders and files removed." in run("gc")
    evaluated = json.loads(run("evaluate", "part", "--json", group=()))
    assert evaluated["metrics"]["accuracy"] == pytest.approx(1 / 3, abs=0.2)
    tested = json.loads(run("evaluate", "part", "--split", "test", "--json", group=()))
    assert tested["images"] == len(dataset.part("test")) > 0
    with pytest.raises(DuckspectError, match="split: must be val or test, but is 'train'"):
        run("evaluate", "part", "--split", "train", group=())
    with pytest.raises(DuckspectError, match=r"other@1 has no test rows\. Train with -o test=0\.2 to keep some"):
        run("evaluate", "other@1", "--split", "test", group=())
    with pytest.raises(DuckspectError, match="the label 'odd' is not one of"):
        run("evaluate", "part", "-q", "select image, 'odd' as label from parts", group=())


def test_an_in_memory_warehouse_stores_no_models():
    import duckdb

    from models_py.warehouse.database import migrate

    with duckdb.connect() as con:
        migrate(con)
        with pytest.raises(DuckspectError, match="this warehouse is in memory"):
            add(con)


LOAD_TOGETHER = """
import sys, threading
from models_py.registry import load
from udfs import connect

models = []
with connect(sys.argv[1]) as con:
    cursors = [con.cursor() for _ in range(4)]
    names = ("kind", "box", "area", "odd")
    threads = [threading.Thread(target=lambda c=c, n=n: models.append(load(c, n))) for c, n in zip(cursors, names)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(sorted(model.task for model in models))
"""


@pytest.mark.slow  # a process that imports every library anew
def test_the_first_models_of_a_process_may_be_loaded_at_once(served):
    file = served.execute("select path from duckdb_databases() where database_name = current_database()").fetchone()[0]
    served.close()
    ran = subprocess.run([sys.executable, "-c", LOAD_TOGETHER, file], capture_output=True, text=True, check=False)
    assert ran.stdout == "['anomaly', 'classify', 'detect', 'segment']\n", ran.stderr
