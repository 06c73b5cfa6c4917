"""Networks without torch: the same answers, only where faster, and torch whenever there is doubt."""

import itertools
import json
import shutil

import pytest
import torch
from conftest import picture
from test_registry import LABELS, add, classifier

from models_py.errors import DuckspectError, RegistryError
from models_py.images.decode import decode
from models_py.registry import collect_garbage, compile_version, delete, find, list_versions, load, promote
from models_py.registry.compiled import network, versions
from models_py.registry.compiled.network import CompiledNetwork
from udfs import connect
from udfs.cli.app import app
from udfs.runtime import Query
from udfs.runtime.batcher import _LOOK_AGAIN, _SINGLES_KEPT, _SingleImageTimes
from udfs.session.session import Session


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A warehouse with a compiled champion; its paths are relative, so copies of it are whole."""
    folder = tmp_path_factory.mktemp("compiled")
    real = versions._make
    with connect(folder / "w.duckdb") as con, pytest.MonkeyPatch.context() as patch:
        patch.setattr(versions, "_make", lambda version: real(version) | {"torch_ms": 2.0, "compiled_ms": 1.0})
        promote(con, add(con, seed=3).reference)
        done = compile_version(con, find(con, "part"))
    assert done.file_sha256, done.note
    return folder


@pytest.fixture
def con(made, tmp_path):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    with connect(tmp_path / "w.duckdb") as opened:
        yield opened


queries = itertools.count()


def served(con):
    """What a query of its own would get."""
    return Session.of(con).runtime().models.serve("part", Query(0, next(queries)), None)


def lanes(con):
    return [worker.model.stand_in for worker in served(con).engine._workers.values()]


def pretend(monkeypatch, **made):
    """What the other process would say; it writes a file as it would."""

    def make(version):
        version.compiled_file.parent.mkdir(exist_ok=True)
        version.compiled_file.write_bytes(b"a network")
        return made or {"apart": 1e-7, "torch_ms": 9.0, "compiled_ms": 3.0}

    monkeypatch.setattr(versions, "_make", make)


def test_a_compiled_version_says_what_torch_says(con):
    version = find(con, "part")
    ((sha256, note),) = con.sql("select file_sha256, note from ml.compiled_models").fetchall()
    assert sha256 == version.compiled_sha256
    assert note.startswith("2.00 times as fast as torch")
    assert all(lanes(con))
    images = [picture(seed) for seed in range(20)]
    wanted = load(con, "part").predict([decode(image) for image in images])
    con.execute("create temp table pictures (number int, image blob)")
    con.executemany("insert into pictures values (?, ?)", list(enumerate(images)))
    found = con.sql("select predict(image, 'part') from pictures order by number").fetchall()
    assert [row["label"] for (row,) in found] == [item.label for item in wanted]
    assert [row["score"] for (row,) in found] == pytest.approx([item.score for item in wanted], abs=1e-5)
    vector = con.sql("select embed(image, 'part') from pictures where number = 0").fetchall()[0][0]
    assert len(vector) == 1024  # what the compiled form does not give is still torch's


def test_the_compiled_form_takes_batches_of_any_size_on_any_number_of_threads(con):
    version = find(con, "part")
    form = CompiledNetwork(version.compiled_file, version.compiled_sha256)
    model = classifier(seed=3)
    batch = torch.stack([model.prepare(decode(picture(seed))) for seed in range(5)])
    with torch.inference_mode():
        wanted = model.forward(batch)[0]
    for threads in (1, 2):
        assert torch.allclose(form.on(threads)(batch), wanted, atol=1e-5)
        assert torch.allclose(form.on(threads)(batch[2:3]), wanted[2:3], atol=1e-5)


def test_what_a_killed_compilation_left_is_removed_by_the_next(con, monkeypatch):
    version = find(con, "part")
    left = version.compiled_file.with_name(f".{version.compiled_file.name}.1-2.partial.onnx")
    left.write_bytes(b"half")
    pretend(monkeypatch)
    compile_version(con, version)
    assert list(left.parent.iterdir()) == [version.compiled_file]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-1] + b"x"), "was changed after it was made"),
        (lambda file: file.unlink(), "cannot be read"),
    ],
    ids=["changed", "missing"],
)
def test_torch_answers_if_the_compiled_form_is_not_what_was_made(con, caplog, change, says):
    change(find(con, "part").compiled_file)
    assert not any(lanes(con))
    assert says in caplog.text
    assert "duckspect models compile part@1" in caplog.text
    con.execute("create temp table pictures as select ?::blob as image", [picture(1)])
    assert con.sql("select predict(image, 'part').label from pictures").fetchall()[0][0] in LABELS


def test_torch_answers_without_the_runtime_and_in_bf16(con, monkeypatch, caplog):
    monkeypatch.setenv("DUCKSPECT_PRECISION", "bf16")
    assert not any(lanes(con))
    monkeypatch.setenv("DUCKSPECT_PRECISION", "fp32")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert not any(lanes(con))
    assert "duckspect[onnx]" in caplog.text


def test_compiling_takes_effect_at_the_next_query(con, monkeypatch):
    con.execute("delete from ml.compiled_models")
    before = served(con)
    assert not any(lanes(con))
    kept = find(con, "part").compiled_file.read_bytes()
    pretend(monkeypatch)
    real = versions._make

    def make(version):
        said = real(version)
        version.compiled_file.write_bytes(kept)
        return said

    monkeypatch.setattr(versions, "_make", make)
    assert compile_version(con, find(con, "part")).file_sha256
    assert all(lanes(con))
    assert served(con).key == before.key  # answers that are known stay so


def test_torch_stays_where_it_is_as_fast_or_alone_can(con, monkeypatch):
    version = find(con, "part")
    pretend(monkeypatch, apart=1e-7, torch_ms=3.0, compiled_ms=3.5)
    assert compile_version(con, version).note == "torch is as fast on this machine"
    assert not version.compiled_file.exists()
    assert find(con, "part").compiled_sha256 is None
    pretend(monkeypatch, refused="such a network cannot be exported")
    assert compile_version(con, version).note == "such a network cannot be exported"
    assert con.sql("select file_sha256, torch_ms, note from ml.compiled_models").fetchall() == [
        (None, None, "such a network cannot be exported")
    ]


def test_a_network_that_cannot_be_exported_is_refused_not_failed(tmp_path, monkeypatch, capsys, con):
    def refuse(*_, **__):
        raise RegistryError("no export")

    monkeypatch.setattr(network.os, "nice", lambda _: None)
    monkeypatch.setattr("models_py.registry.compiled.onnx.export_onnx", refuse)
    version = find(con, "part")
    assert network.main([str(version.folder), version.artifact_sha256, str(tmp_path / "x.onnx")]) == 0
    assert json.loads(capsys.readouterr().out) == {"refused": "no export"}
    assert network.main([str(version.folder), "0" * 64, str(tmp_path / "x.onnx")]) == 1
    assert "was changed after it was registered" in capsys.readouterr().err


def test_a_broken_artifact_is_an_error_and_leaves_no_row(con):
    con.execute("delete from ml.compiled_models")
    version = find(con, "part")
    (version.folder / "model.json").write_text("{}")
    with pytest.raises(RegistryError, match=r"part@1: could not be compiled: .*changed after it was registered"):
        compile_version(con, version)
    assert con.sql("from ml.compiled_models").fetchall() == []


def test_missing_packages_are_named(con, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DuckspectError, match=r"needs onnx, onnxruntime, onnxscript.*pip install 'duckspect\[onnx\]'"):
        compile_version(con, find(con, "part"))


def test_what_is_compiled_goes_with_its_version(con, monkeypatch):
    pretend(monkeypatch)
    second = add(con, seed=4)
    compile_version(con, second)
    stray = second.compiled_file.with_name("stray.onnx")
    stray.write_bytes(b"of a run that was killed")
    assert collect_garbage(con) == [stray]
    assert second.compiled_file.exists()
    promote(con, "part@1", alias="challenger", force="test")
    delete(con, "part@2")
    assert not second.compiled_file.exists()
    assert con.sql("select count(*) from ml.compiled_models").fetchall() == [(1,)]
    assert [item.compiled_sha256 is not None for item in list_versions(con)] == [True]


def test_the_command_line_compiles_champions_and_their_successors(con, tmp_path, monkeypatch, capsys):
    pretend(monkeypatch)
    add(con, seed=4)
    add(con, name="other", seed=5)
    con.close()

    def run(*arguments):
        app(["models", *arguments, "-w", str(tmp_path / "w.duckdb")], standalone_mode=False)
        return capsys.readouterr().out

    assert json.loads(run("compile", "--json")) == [
        {
            "model": "part@1",
            "torch_ms": 9.0,
            "compiled_ms": 3.0,
            "outcome": "3.00 times as fast as torch, outputs at most 1e-07 of their range apart",
        }
    ]
    said = run("promote", "part@2", "--force", "test")
    assert "Others of part were compiled, so part@2 is, too" in said
    assert "3.00 times as fast" in said
    assert "compiled" not in run("promote", "part@1", "--force", "back")
    assert "compiled" not in run("promote", "other@1")
    assert "other@1" in run("compile", "other")
    with pytest.raises(DuckspectError, match="there is no 'nothing'"):
        run("compile", "nothing")


def test_the_dashboard_publishes_a_promotion_even_if_compiling_fails(con, tmp_path, monkeypatch):
    from dashboard import write

    def fail(_version):
        raise RegistryError("could not be compiled")

    second = add(con, seed=4)
    con.close()
    monkeypatch.setattr(versions, "_make", fail)
    with pytest.raises(RegistryError, match="could not be compiled"):
        write.promote_version(tmp_path / "w.duckdb", second.reference, "test")
    with connect(tmp_path / "w.published.duckdb", read_only=True) as readers:
        assert find(readers, "part").reference == second.reference


def test_without_a_champion_the_command_says_what_to_name(tmp_path):
    with connect(tmp_path / "w.duckdb"):
        pass
    with pytest.raises(DuckspectError, match="No model has a champion"):
        app(["models", "compile", "-w", str(tmp_path / "w.duckdb")], standalone_mode=False)


def test_single_images_get_all_cores_where_that_pays():
    def pace(wide, narrow):
        found = _SingleImageTimes()
        for _ in range(_SINGLES_KEPT):
            found.note(wide, is_wide=True)
            found.note(narrow, is_wide=False)
        return found

    unknown = _SingleImageTimes()
    assert unknown.wants_all_cores()
    for _ in range(3):
        unknown.note(1.0, is_wide=True)
    assert not unknown.wants_all_cores()  # one core has not been tried yet
    large, small = pace(0.6, 1.0), pace(0.9, 1.0)
    assert [large.wants_all_cores() for _ in range(_LOOK_AGAIN)] == [True] * (_LOOK_AGAIN - 1) + [False]
    assert [small.wants_all_cores() for _ in range(_LOOK_AGAIN)] == [False] * (_LOOK_AGAIN - 1) + [True]
    for _ in range(_SINGLES_KEPT):  # the machine has more to do than before
        large.note(1.2, is_wide=True)
    assert not large.wants_all_cores()
