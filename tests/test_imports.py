"""Odd files given to `duckspect models import`: each is a sentence, nothing is stored, run or left behind."""

import hashlib
import json
import os
import pickle
import re
import stat
import struct
import tempfile
import zipfile

import pytest
import torch
from conftest import duckspect, picture
from drawn import SIDE
from safetensors.torch import save_file

from models_py.errors import DuckspectError
from models_py.model.architectures import find_architecture
from models_py.model.preprocess import Preprocess
from models_py.model.trained_model import ModelSpec
from models_py.registry import Origin, artifacts_folder, list_versions, load, register, transfer
from models_py.registry.foreign_description import parse_description
from models_py.tasks.classify.task import rebuild_empty
from models_py.yolo import ultralytics
from udfs import connect

PARTS = transfer.TensorFileDescription(
    task="classify", architecture="mobilenet_v3_small", labels=("bad", "good"), image_size=64
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The files of an exported model, by name."""
    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    model = rebuild_empty(ModelSpec("classify", "mobilenet_v3_small", ("bad", "good"), Preprocess(SIDE), {}))
    with connect(folder / "w.duckdb") as con:
        version = register(con, "part", model, [picture(1)], None, Origin({"epochs": 1}, {}))
        transfer.export(version, load(con, version), folder / "part.zip")
    with zipfile.ZipFile(folder / "part.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A warehouse that stays without models, for nothing is registered."""
    ultralytics()  # makes a folder of its own, once
    with connect(tmp_path_factory.mktemp("empty") / "w.duckdb") as con:
        yield con


@pytest.fixture
def refuses(empty, tmp_path, monkeypatch):
    """Import a file: it must be refused, in the returned words, and leave the warehouse and the disk as they were."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.chdir(temporary)

    def refuse(file, name="copy", described=PARTS):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(DuckspectError) as refused:
            transfer.import_file(empty, file, name, described)
        assert list_versions(empty) == []
        assert not artifacts_folder(empty).exists()
        assert sorted(tmp_path.rglob("*")) == before
        assert len(str(refused.value)) < 1000
        str(refused.value).encode()
        return str(refused.value)

    return refuse


def pack(file, files):
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file


def changed(exported, **parts):
    """The exported files with other parts of `model.json`; a part that is `...` is left out."""
    described = json.loads(exported["model.json"])
    for name, value in parts.items():
        described.pop(name) if value is ... else described.update({name: value})
    return {**exported, "model.json": json.dumps(described).encode()}


NESTED = json.loads("[" * 50 + "]" * 50)
ODD = {
    "params null": ({"params": None}, "params must be an object, but is null"),
    "params list": ({"params": [1]}, "params must be an object"),
    "params with a surrogate": ({"params": {"a": "\ud800"}}, "a value must be text in UTF-8"),
    "params with a huge number": ({"params": {"a": 10**30}}, "a value must be text in UTF-8 or a finite number"),
    "params not finite": ({"params": {"a": float("nan")}}, "NaN is no number in JSON"),
    "metrics of words": ({"metrics": {"accuracy": "good"}}, "metrics must be an object of numbers"),
    "no labels": ({"labels": []}, "labels must be a list of 1 to 10,000 names"),
    "labels missing": ({"labels": ...}, "has no 'labels', but needs task, architecture"),
    "labels null": ({"labels": None}, "labels must be a list of 1"),
    "labels text": ({"labels": "ab"}, "labels must be a list of 1"),
    "labels nested": ({"labels": [["bad"], ["good"]]}, "labels must be names of 1 to 200 characters"),
    "labels numbers": ({"labels": [1, 2]}, "labels must be names of 1 to 200 characters, but is 1"),
    "labels surrogates": ({"labels": ["bad", "\udc80"]}, "a value must be text in UTF-8"),
    "labels with a NUL": ({"labels": ["bad", "a\0b"]}, "a value must be text in UTF-8"),
    "labels twice": ({"labels": ["bad", "bad"]}, "the label 'bad' must be there once, but is"),
    "labels blank": ({"labels": ["bad", " "]}, "labels must be names of 1 to 200 characters"),
    "labels long": ({"labels": ["bad", "x" * 10**6]}, "labels must be names of 1 to 200 characters"),
    "labels many": ({"labels": [str(n) for n in range(10**6)]}, "labels must be a list of 1 to 10,000"),
    "labels of another number": ({"labels": ["a", "b", "c"]}, "does not fit mobilenet_v3_small"),
    "preprocess missing": ({"preprocess": ...}, "has no 'preprocess'"),
    "preprocess empty": ({"preprocess": {}}, "preprocess must be an object of size, letterbox"),
    "size huge": ({"preprocess": {"size": 10**9}}, "preprocess.size must be a whole number from 1 to 4096"),
    "size negative": ({"preprocess": {"size": -1}}, "preprocess.size must be a whole number"),
    "size float": ({"preprocess": {"size": 64.5}}, "preprocess.size must be a whole number"),
    "size text": ({"preprocess": {"size": "64"}}, 'preprocess.size must be a whole number from 1 to 4096, but is "64"'),
    "size true": ({"preprocess": {"size": True}}, "preprocess.size must be a whole number"),
    "clahe text": ({"preprocess": {"size": 64, "clahe": "1"}}, "preprocess.clahe must be a number"),
    "letterbox text": ({"preprocess": {"size": 64, "letterbox": "no"}}, "preprocess.letterbox must be true or false"),
    "mean short": ({"preprocess": {"size": 64, "mean": [0]}}, "preprocess.mean must be three numbers"),
    "std zero": ({"preprocess": {"size": 64, "std": [0, 1, 1]}}, "preprocess.std must be three numbers above 0"),
    "task unknown": ({"task": "guess"}, "task: must be one of classify, detect"),
    "task a list": ({"task": ["classify"]}, "task must be text"),
    "architecture unknown": ({"architecture": "resnet9000"}, "there is no 'resnet9000' for classify. Choose one of"),
    "format newer": ({"format": 2}, "has artifact format 2, but this duckspect .* reads 1. Upgrade duckspect"),
    "format missing": ({"format": ...}, "has artifact format None"),
    "format a list": ({"format": [1]}, "has artifact format"),
    "build null": ({"build": None}, "build must be an object"),
    "build odd": ({"build": {"odd": 1}}, "build must be an object of image_size, backbone, layers for classify"),
    "build huge": ({"build": {"image_size": 10**9}}, "build.image_size must be a whole number from 32 to 4096"),
    "yaml a path": (
        {"task": "detect", "architecture": "yolo11n", "build": {"yaml": "/etc/passwd"}},
        "build.yaml must be the description of a YOLO itself",
    ),
    "yaml absent": ({"task": "detect", "architecture": "yolo11n"}, "does not fit yolo11n"),
    "yaml null": ({"task": "detect", "architecture": "yolo11n", "build": {"yaml": None}}, "build.yaml must be"),
    "yaml of odd layers": (
        {"task": "detect", "architecture": "yolo11n", "build": {"yaml": {"backbone": [1], "head": []}}},
        "architecture: 1 is no known layer",
    ),
    "yaml of a huge layer": (
        {
            "task": "detect",
            "architecture": "yolo11n",
            "build": {"yaml": {"backbone": [[-1, 1, "Conv", [10**9, 3, 2]]], "head": []}},
        },
        "is no known layer",
    ),
    "yaml empty": (
        {"task": "detect", "architecture": "yolo11n", "build": {"yaml": {"backbone": [], "head": []}}},
        "is no whole model",
    ),
    "layers text": (
        {"task": "anomaly", "architecture": "patchcore", "build": {"backbone": "resnet18", "layers": "2", "top": 0.1}},
        "build.layers must be a list of whole numbers",
    ),
    "backbone unknown": (
        {"task": "anomaly", "architecture": "patchcore", "build": {"backbone": "vgg", "layers": [2], "top": 0.1}},
        "backbone: must be one of",
    ),
    "layers missing": (
        {"task": "anomaly", "architecture": "patchcore", "build": {}},
        "build must be an object of backbone, layers, top",
    ),
    "thresholds list": ({"thresholds": [1]}, "thresholds must be an object of numbers"),
    "thresholds text": ({"thresholds": {"*": "0.5"}}, "thresholds must be an object of numbers"),
    "files list": ({"files": ["model.safetensors"]}, "files must be an object of SHA-256 hashes"),
    "files nested": ({"files": {"model.safetensors": ["a"]}}, "files must be an object of SHA-256 hashes"),
    "files empty": ({"files": {}}, "was changed or truncated"),
    "nested": ({"params": {"a": NESTED}}, "must not be nested more than 20 deep"),
}


@pytest.mark.parametrize(("parts", "words"), ODD.values(), ids=ODD.keys())
def test_an_odd_description_of_a_model_is_refused_in_a_sentence(exported, refuses, tmp_path, parts, words):
    assert re.search(words, refuses(pack(tmp_path / "odd.zip", changed(exported, **parts))))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "is not JSON"),
        (b"[]", "the whole must be an object"),
        (b"null", "the whole must be an object"),
        (b"\xff\xfe\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"format": 1, "format": 1}', "'format' stands in it twice"),
        (b"1" * 5000, "is not JSON"),
    ],
    ids=["empty", "list", "null", "bytes", "deep", "twice", "digits"],
)
def test_a_description_that_is_no_object_is_refused(exported, refuses, tmp_path, text, words):
    assert words in refuses(pack(tmp_path / "odd.zip", {**exported, "model.json": text}))


def test_what_export_writes_may_be_imported(exported, tmp_path):
    assert parse_description(exported["model.json"])["labels"] == ["bad", "good"]
    with connect(tmp_path / "w.duckdb") as con:
        assert transfer.import_file(con, pack(tmp_path / "p.zip", exported), "p", PARTS).reference == "p@1"


def truncated(file, exported):
    data = pack(file, exported).read_bytes()
    file.write_bytes(data[: len(data) // 2])


def bomb(file, exported):
    with zipfile.ZipFile(pack(file, {k: v for k, v in exported.items() if k != "rows.parquet"}), "a") as archive:
        archive.writestr("rows.parquet", bytes(20 << 20), zipfile.ZIP_DEFLATED)


def twice(file, exported):
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(pack(file, exported), "a") as archive:
        archive.writestr("model.json", b"{}")


def link(file, exported):
    with zipfile.ZipFile(pack(file, {k: v for k, v in exported.items() if k != "rows.parquet"}), "a") as archive:
        item = zipfile.ZipInfo("rows.parquet")
        item.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(item, "/etc/passwd")


def encrypted(file, exported):
    data = bytearray(pack(file, exported).read_bytes())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(signature) + place] |= 1
    file.write_bytes(data)


def of_an_unknown_compression(file, exported):
    data = bytearray(pack(file, exported).read_bytes())
    for signature, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.find(signature) + place] = 99
    file.write_bytes(data)


def damaged(file, exported, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in exported.items():
            archive.writestr(name, data)
    data = bytearray(file.read_bytes())
    data[40:60] = b"\xff" * 20
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (truncated, "is no torch file"),
        (bomb, "as no model does"),
        (twice, "'model.json', which is in it twice"),
        (link, "'rows.parquet', which is a link"),
        (encrypted, "which is encrypted"),
        (of_an_unknown_compression, "is no whole model"),
        (damaged, "is no whole model"),
        (lambda file, exported: damaged(file, exported, zipfile.ZIP_BZIP2), "is no whole model"),
        (lambda file, exported: damaged(file, exported, zipfile.ZIP_LZMA), "is no whole model"),
        (lambda file, _: file.touch(), "is no torch file"),
        (lambda file, _: file.mkdir(), "is a folder or no regular file"),
        (lambda file, _: os.mkfifo(file), "is a folder or no regular file"),
        (lambda *_: None, "there is no such file"),
        (lambda file, exported: pack(file, {**exported, "../evil": b""}), "'../evil', which is no part"),
        (lambda file, exported: pack(file, {**exported, "/evil": b""}), "'/evil', which is no part"),
        (lambda file, exported: pack(file, {"model.json": exported["model.json"]}), "is missing"),
        (lambda file, exported: pack(file, {**exported, "golden.safetensors": b""}), "was changed or truncated"),
        (lambda file, exported: pack(file, {**exported, "thresholds.json": b"null"}), "must map labels to numbers"),
        (lambda file, exported: pack(file, {**exported, "thresholds.json": b'{"*": true}'}), "must map labels"),
        (lambda file, exported: pack(file, {**exported, "thresholds.json": b'{"x": 1}'}), "label: must be"),
        (lambda file, exported: pack(file, {**exported, "thresholds.json": b"{"}), "is no whole model"),
    ],
)
def test_an_archive_that_is_not_ours_is_refused_in_a_sentence(exported, refuses, tmp_path, make, words):
    make(tmp_path / "odd.zip", exported)
    assert words in refuses(tmp_path / "odd.zip")


def test_an_archive_without_golden_images_is_refused(exported, refuses, tmp_path):
    save_file({"output.0.0": torch.zeros(1)}, tmp_path / "golden.safetensors")
    files = with_part(exported, "golden.safetensors", (tmp_path / "golden.safetensors").read_bytes())
    assert "has no golden image" in refuses(pack(tmp_path / "odd.zip", files))


def with_part(exported, name, data):
    """The exported files with another part, and its right hash."""
    hashes = {**json.loads(exported["model.json"])["files"], name: hashlib.sha256(data).hexdigest()}
    return {**changed(exported, files=hashes), name: data}


def tensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(start, end, shape=(1,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


LYING = {
    "empty": b"",
    "a header longer than the file": tensors({"a": tensor(0, 4)}, bytes(4), length=10**6),
    "a header of 2^63 bytes": tensors({"a": tensor(0, 4)}, bytes(4), length=1 << 63),
    "no JSON": tensors(b"not JSON at all"),
    "a list": tensors([]),
    "overlapping": tensors({"a": tensor(0, 4), "b": tensor(2, 6)}, bytes(6)),
    "negative": tensors({"a": tensor(-4, 0)}, bytes(4)),
    "beyond the file": tensors({"a": tensor(0, 4_000_000, (1_000_000,))}, bytes(4)),
    "huge shape": tensors({"a": tensor(0, 4, (1 << 40, 1 << 40))}, bytes(4)),
    "negative shape": tensors({"a": tensor(0, 4, (-1,))}, bytes(4)),
    "unknown dtype": tensors({"a": tensor(0, 4, dtype="F33")}, bytes(4)),
    "a gap": tensors({"a": tensor(8, 12)}, bytes(12)),
    "twice": tensors(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32"}}', bytes(4)),
    "deep": tensors(b"[" * 10_000),
}


@pytest.mark.parametrize("data", LYING.values(), ids=LYING.keys())
def test_lying_headers_of_safetensors_are_refused_in_a_sentence(exported, refuses, tmp_path, data):
    (tmp_path / "odd.safetensors").write_bytes(data)
    assert "is not a whole safetensors file" in refuses(tmp_path / "odd.safetensors")
    inside = pack(tmp_path / "odd.zip", with_part(exported, "model.safetensors", data))
    assert "is not a whole safetensors file" in refuses(inside)


def test_safetensors_are_imported_with_the_classes_that_they_name(tmp_path):
    torch.manual_seed(0)
    network = find_architecture("classify", "mobilenet_v3_small").build(2)
    save_file(network.state_dict(), tmp_path / "w.safetensors", {"labels": '["bad", "good"]'})
    described = transfer.TensorFileDescription(task="classify", architecture="mobilenet_v3_small", image_size=64)
    with connect(tmp_path / "w.duckdb") as con:
        assert transfer.import_file(con, tmp_path / "w.safetensors", "p", described).labels == ("bad", "good")


@pytest.mark.parametrize("labels", ["1", "[1, 2]", "{", '["\\ud800"]', "[[]]", '["a", "a"]'])
def test_odd_classes_in_safetensors_are_refused(refuses, tmp_path, labels):
    save_file({"a": torch.zeros(1)}, tmp_path / "odd.safetensors", {"labels": labels})
    assert "label" in refuses(tmp_path / "odd.safetensors")


class Trap:
    """Writes a file when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize(
    "write",
    [
        lambda file: file.write_bytes(pickle.dumps(Trap())),
        lambda file: torch.save(Trap(), file),
        lambda file: torch.save({"state_dict": Trap()}, file),
        lambda file: pack(file, {"archive/data.pkl": pickle.dumps(Trap()), "archive/version": b"3"}),
        lambda file: torch.save([1, 2], file),
        lambda file: torch.save({"a": 1}, file),
        lambda file: torch.save({"odd": torch.zeros(1)}, file),
        lambda file: file.write_bytes(b"\x80\x02" + b"}" * 100),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".zip"])
def test_pickles_are_refused_and_nothing_in_them_is_run(refuses, tmp_path, write, suffix):
    write(tmp_path / f"odd{suffix}")
    assert str(tmp_path / "odd") in refuses(tmp_path / f"odd{suffix}")


def test_onnx_is_refused_whatever_it_points_to(refuses, tmp_path):
    (tmp_path / "odd.onnx").write_bytes(b"\x08\x07\x12../../etc/passwd")
    assert "ONNX cannot be imported" in refuses(tmp_path / "odd.onnx")


@pytest.mark.parametrize(
    "described",
    [
        {"labels": ()},
        {"labels": ("a", "a")},
        {"labels": ("a", "x" * 201)},
        {"labels": ("a", "\udc80")},
        {"image_size": 10**9},
        {"image_size": -1},
        {"image_size": 0},
        {"task": "guess"},
        {"task": None},
        {"architecture": "resnet9000"},
    ],
    ids=str,
)
def test_odd_options_beside_bare_tensors_are_refused(refuses, tmp_path, described):
    network = find_architecture("classify", "mobilenet_v3_small").build(2)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    given = {"task": "classify", "architecture": "mobilenet_v3_small", "labels": ("a", "b"), **described}
    refuses(tmp_path / "w.pt", described=transfer.TensorFileDescription(**given))


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "/x", "a\0b", "a" * 300, "é" * 101, "\U00020000" * 60, "", ".", "..", "a@1", "a b", "\ud800", "-x"],
)
def test_names_that_could_leave_the_folder_are_refused_before_the_file_is_read(refuses, tmp_path, name):
    (tmp_path / "any.pt").write_bytes(b"")
    assert refuses(tmp_path / "any.pt", name=name).startswith("name: must be")


def test_the_command_line_says_it_in_a_sentence(exported, tmp_path):
    pack(tmp_path / "odd.zip", changed(exported, params=None))
    done = duckspect("models", "import", str(tmp_path / "odd.zip"), "p", "-w", str(tmp_path / "w.duckdb"))
    assert done.returncode == 1
    assert "Error: model.json: params must be an object, but is null." in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
