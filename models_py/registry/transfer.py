"""Export and import models: zip archives of artifacts, ONNX, Ultralytics checkpoints, torch state dicts."""

from __future__ import annotations

import json
import lzma
import pickle
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow
import torch

from models_py.errors import RegistryError
from models_py.files.durable import replacing
from models_py.files.full_disk import full_disk, writing_in
from models_py.images.encode import encode_png
from models_py.model.architectures import Architecture, find_architecture, list_architectures
from models_py.model.options import TrainingOptions, parse_options
from models_py.model.preprocess import Preprocess
from models_py.model.trained_model import Model, ModelSpec
from models_py.registry.artifact import (
    GOLDEN,
    ROWS,
    SPEC,
    TENSORS,
    check_golden,
    load_artifact,
    read_golden,
    read_rows,
    read_spec,
)
from models_py.registry.foreign_description import check_labels, parse_description
from models_py.registry.operating_points import check_threshold, set_operating_point
from models_py.registry.registration import Origin, register
from models_py.registry.versions import Version, check_name
from models_py.task import Threshold, find_task, options_of

if TYPE_CHECKING:
    import duckdb

_FILES = (SPEC, TENSORS, GOLDEN, ROWS)
_THRESHOLDS = "thresholds.json"
_LARGEST = 8 << 30
_LARGEST_TEXT = 16 << 20
_SMALL = 1 << 16
_MOST_PACKED = 100
"""The largest ratio of unpacked to packed size. Weights hardly compress: a higher one is meant to fill a disk."""
_ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class TensorFileDescription:
    """What the user must add to a file of bare tensors: architecture, classes, input size."""

    task: str | None = None
    architecture: str | None = None
    labels: tuple[str, ...] = ()
    image_size: int | None = None


def export(version: Version, model: Model, output: Path) -> str:
    """Write a version as .zip or .onnx; return a sentence about what was written."""
    if output.suffix == ".zip":
        return _export_zip(version, model, output)
    if output.suffix == ".onnx":
        from models_py.registry.compiled.versions import run_exporter

        apart = run_exporter("onnx", version, output)["apart"]
        return f"its outputs differ from torch's by at most {apart:.2g}"
    raise RegistryError(f"output: must end in .zip or .onnx, but is {output}.")


def _export_zip(version: Version, model: Model, output: Path) -> str:
    """Pack an artifact, after verifying its files, with its current thresholds."""
    described = read_spec(version.folder, version.artifact_sha256)
    read_golden(version.folder, described)
    if ROWS in described["files"]:
        read_rows(version.folder, described)
    try:
        with replacing(output) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            for name in _FILES:
                if (version.folder / name).exists():
                    archive.write(version.folder / name, name)
            archive.writestr(_THRESHOLDS, json.dumps(dict(model.spec.thresholds)))
    except OSError as error:
        raise RegistryError(f"{output}: cannot be written: {error.strerror}.") from error
    return "the artifact with its golden batch and rows"


def import_file(con: duckdb.DuckDBPyConnection, file: Path, name: str, described: TensorFileDescription) -> Version:
    """Register the model in a file, if it is of a kind that can be read without running code from it."""
    check_name(name)
    if not file.is_file():
        what = "is a folder or no regular file" if file.exists() else "there is no such file"
        raise RegistryError(f"{file}: {what}. Name a .zip of `duckspect models export`, a .pt or a .safetensors.")
    try:
        if zipfile.is_zipfile(file) and SPEC in _names(file):
            return _import_zip(con, file, name)
        return _import_tensors(con, file, name, described)
    except _DAMAGE as error:
        if full := full_disk(error):
            raise full from error
        words = (str(error).splitlines() or [""])[0]
        raise RegistryError(
            f"{file}: is no whole model: {type(error).__name__}: {words}. Export it again, or copy it again if it was "
            "damaged on its way. Nothing was registered."
        ) from error


_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    pickle.UnpicklingError,
    pyarrow.ArrowException,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""The errors that libraries raise for files that are damaged or of another kind."""


def _names(file: Path) -> list[str]:
    with zipfile.ZipFile(file) as archive:
        return archive.namelist()


def _import_zip(con: duckdb.DuckDBPyConnection, file: Path, name: str) -> Version:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _unpack(file, folder)
        described = parse_description((folder / SPEC).read_bytes())
        model = load_artifact(folder)
        golden = read_golden(folder, described)
        if not golden.images:
            raise RegistryError(f"{file}: has no golden image to compare outputs on. Export the model again.")
        check_golden(model, golden, tolerance=1e-2)  # another machine rounds differently
        dataset = read_rows(folder, described) if ROWS in described["files"] else None
        thresholds = _thresholds(folder, model)
        reason = f"as it was in {file.name}"
        threshold = Threshold(thresholds.pop("*"), reason) if "*" in thresholds else None
        origin = Origin(described["params"], described.get("metrics", {}), dataset, parent=file.name)
        version = register(con, name, model, golden.images, threshold, origin)
        for label, value in thresholds.items():
            set_operating_point(con, version.reference, value, reason, label=label)
        return version


def _thresholds(folder: Path, model: Model) -> dict[str, float]:
    """The thresholds at the time of the export, or those of training if the archive has no others."""
    file = folder / _THRESHOLDS
    found = json.loads(file.read_text()) if file.exists() else dict(model.spec.thresholds)
    if not isinstance(found, dict) or not all(type(value) in (int, float) for value in found.values()):
        raise RegistryError(f"{_THRESHOLDS}: must map labels to numbers, but is {found!r}. Export the model again.")
    for label, value in found.items():
        try:
            check_threshold(model.task, model.labels, label, value)
        except RegistryError as error:
            raise RegistryError(f"{_THRESHOLDS}: {error} Set it where the model is from, and export again.") from error
    return {label: float(value) for label, value in found.items()}


def _unpack(file: Path, folder: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        _check_members(file, archive.infolist())
        for item in archive.infolist():
            with writing_in(folder.parent), archive.open(item) as source, (folder / item.filename).open("wb") as target:
                shutil.copyfileobj(source, target)


def _check_members(file: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse an archive with members that our export never writes, before anything is unpacked."""
    names = (*_FILES, _THRESHOLDS)
    for item in members:
        reason = ""
        if item.filename not in names:
            reason = f"is no part of a model ({', '.join(names)})"
        elif sum(other.filename == item.filename for other in members) > 1:
            reason = "is in it twice"
        elif item.flag_bits & _ENCRYPTED:
            reason = "is encrypted"
        elif stat.S_ISLNK(item.external_attr >> 16):
            reason = "is a link"
        elif item.file_size > _MOST_PACKED * max(item.compress_size, _SMALL) or item.file_size > _LARGEST:
            reason = f"unpacks from {item.compress_size:,} to {item.file_size:,} bytes, as no model does"
        elif item.filename in (SPEC, _THRESHOLDS) and item.file_size > _LARGEST_TEXT:
            reason = f"has {item.file_size:,} bytes, more than the {_LARGEST_TEXT:,} that it may have"
        if reason:
            raise RegistryError(
                f"{file}: holds {item.filename!r}, which {reason}. Nothing was read. Export the model again."
            )


def _import_tensors(con: duckdb.DuckDBPyConnection, file: Path, name: str, described: TensorFileDescription) -> Version:
    from models_py.weights.foreign import read_checkpoint

    found = read_checkpoint(file)
    labels = found.labels or described.labels
    if described.image_size is not None:
        parse_options(TrainingOptions, {"image_size": described.image_size})
    yaml = found.yaml
    architecture = _architecture_of(described, file) if yaml is None else _yolo_of(yaml, described)
    if not labels:
        raise RegistryError(f"{file}: does not say its classes. Name them in order: --labels open,short,...")
    check_labels(labels, str(file) if found.labels else "--labels")
    model = _model(architecture, labels, described, yaml, found.tensors, file)
    size = model.spec.preprocess.size
    golden = [encode_png(image) for image in _test_pictures(size)]
    options = parse_options(options_of(architecture.task), {**architecture.defaults, "image_size": size})
    origin = Origin({"imported": file.name, "image_size": options.image_size}, {}, None, parent=file.name)
    threshold = Threshold(0.25, "imported without one") if architecture.task == "detect" else None
    return register(con, name, model, golden, threshold, origin)


def _yolo_of(yaml: Mapping[str, Any], described: TensorFileDescription) -> Architecture:
    """The architecture to register for a YOLO; the network itself is built from the checkpoint's own yaml."""
    given = described.architecture or Path(str(yaml.get("yaml_file", ""))).stem
    known = {item.name: item for item in list_architectures("detect") if item.family == "yolo"}
    return known.get(given) or known["yolo11n"]


def _architecture_of(described: TensorFileDescription, file: Path) -> Architecture:
    if not described.task or not described.architecture:
        raise RegistryError(
            f"{file}: holds bare tensors. Say what they are, as in: "
            "--task classify --architecture resnet18 --labels good,scratch"
        )
    return find_architecture(described.task, described.architecture)


def _model(
    architecture: Architecture,
    labels: tuple[str, ...],
    described: TensorFileDescription,
    yaml: Mapping[str, Any] | None,
    tensors: Mapping[str, torch.Tensor],
    file: Path,
) -> Model:
    options = parse_options(options_of(architecture.task), architecture.defaults)
    size = described.image_size or options.image_size
    is_yolo = architecture.family == "yolo"
    preprocess = Preprocess(size, letterbox=architecture.task == "detect")
    if is_yolo:
        preprocess = replace(preprocess, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    build: dict[str, Any] = {}
    if yaml is not None:
        build = {"yaml": {key: value for key, value in yaml.items() if key != "yaml_file"}}
    spec = ModelSpec(architecture.task, architecture.name, labels, preprocess, build)
    floats = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    try:
        return find_task(architecture.task).rebuild(spec, floats)
    except (RuntimeError, KeyError) as error:
        last = str(error).strip().splitlines()[-1].strip()
        raise RegistryError(f"{file}: does not fit {architecture.name} with {len(labels)} classes: {last}") from error


def _test_pictures(size: int) -> list[torch.Tensor]:
    """Two drawn pictures for comparing outputs, for imports without any images."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (3, size, size), generator=generator, dtype=torch.uint8)
    ramp = torch.arange(size).mul(255).div(size, rounding_mode="floor").to(torch.uint8).expand(3, size, size)
    return [noise, ramp.contiguous()]
