"""A model as files: `model.safetensors`, `model.json`, its rows, and a golden batch. Nothing is pickled.

`model.json` names the hash of every other file, and the registry keeps the hash of `model.json`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import torch

from models_py import __version__
from models_py.datasets import FrozenDataset, read_parquet, write_parquet
from models_py.errors import RegistryError
from models_py.files.durable import make_folders
from models_py.images.decode import decode
from models_py.model.preprocess import Preprocess
from models_py.model.tensors import read_tensors, write_tensors
from models_py.model.trained_model import Model, ModelSpec
from models_py.registry.foreign_description import FORMAT
from models_py.task import find_task

SPEC, TENSORS, GOLDEN, ROWS = "model.json", "model.safetensors", "golden.safetensors", "rows.parquet"
_CLOSE = 1e-4
_LIBRARIES = ("torch", "torchvision", "ultralytics", "segmentation-models-pytorch", "scikit-learn", "numpy")


GoldenImage = bytes | tuple[bytes, bytes]
"""An image file, or one with the file of its reference image."""


@dataclass(frozen=True, slots=True)
class GoldenBatch:
    """A few images as files, and the trained model's outputs for them."""

    images: tuple[GoldenImage, ...]
    outputs: tuple[tuple[torch.Tensor, ...], ...]

    @classmethod
    def of(cls, model: Model, images: Sequence[GoldenImage]) -> GoldenBatch:
        return cls(tuple(images), tuple(_outputs(model, image) for image in images))

    def prepared(self, model: Model) -> torch.Tensor:
        """The images as the model's network takes them, in one batch."""
        return torch.stack([_prepared(model, image) for image in self.images]).contiguous()


def libraries() -> dict[str, str]:
    """The installed versions of the libraries on which a model's outputs depend."""
    versions = {}
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            versions[name] = installed(name)
    return versions | {"duckspect": __version__}


def save_artifact(
    model: Model, folder: Path, golden: GoldenBatch, dataset: FrozenDataset | None, params: Mapping[str, Any]
) -> str:
    """Write an artifact into an empty folder; return its hash."""
    make_folders(folder)
    write_tensors(model.state(), folder / TENSORS)
    tensors: dict[str, torch.Tensor] = {}
    for number, image in enumerate(golden.images):
        files = (image,) if isinstance(image, bytes) else image
        tensors |= {
            f"{part}.{number}": torch.frombuffer(bytearray(data), dtype=torch.uint8)
            for part, data in zip(("image", "reference"), files, strict=False)
        }
    for number, outputs in enumerate(golden.outputs):
        tensors |= {f"output.{number}.{place}": tensor for place, tensor in enumerate(outputs)}
    write_tensors(tensors, folder / GOLDEN)
    if dataset is not None:
        write_parquet(dataset, folder / ROWS)
    spec = model.spec
    described = {
        "format": FORMAT,
        "task": spec.task,
        "architecture": spec.architecture,
        "labels": list(spec.labels),
        "preprocess": spec.preprocess.as_dict(),
        "build": spec.build,
        "thresholds": spec.thresholds,
        "params": dict(params),
        "libraries": libraries(),
        "files": {file.name: _sha256(file) for file in sorted(folder.iterdir())},
    }
    text = json.dumps(described, indent=2, sort_keys=True)
    (folder / SPEC).write_text(text)
    return hashlib.sha256(text.encode()).hexdigest()


# The first network of a library imports it. Two threads that do so from different ends (torchvision here, ultralytics,
# which imports torchvision, there) wait for each other, and Python ends one of the imports with a RuntimeError.
_building = threading.Lock()


def load_artifact(folder: Path, sha256: str | None = None) -> Model:
    """Build the model from its files; refuses files that are missing, truncated, of another format or changed."""
    described = read_spec(folder, sha256)
    tensors = folder / TENSORS
    _verify(folder, TENSORS, described)
    spec = ModelSpec(
        task=described["task"],
        architecture=described["architecture"],
        labels=tuple(described["labels"]),
        preprocess=Preprocess.from_dict(described["preprocess"]),
        build=described["build"],
        thresholds=described["thresholds"],
    )
    try:
        stored = read_tensors(tensors)[0]
        with _building:
            return find_task(spec.task).rebuild(spec, stored)
    except RuntimeError as error:  # from torch, if the tensors do not fit the network
        raise RegistryError(f"{tensors}: does not fit {spec.architecture}: {str(error).splitlines()[0]}") from error


def read_spec(folder: Path, sha256: str | None = None) -> dict[str, Any]:
    """Read `model.json`, checked against the hash in the registry."""
    file = folder / SPEC
    try:
        text = file.read_bytes()
        described: dict[str, Any] = json.loads(text)
    except FileNotFoundError as error:
        raise RegistryError(f"{file}: the artifact is missing. Restore the folder, or delete the version.") from error
    except (OSError, ValueError) as error:
        raise RegistryError(f"{file}: the artifact cannot be read: {error}") from error
    if sha256 is not None and hashlib.sha256(text).hexdigest() != sha256:
        raise RegistryError(f"{file}: the artifact was changed after it was registered. Restore it, or train again.")
    if described.get("format") != FORMAT:
        raise RegistryError(
            f"{file}: has artifact format {described.get('format')!r}, but this duckspect {__version__} reads {FORMAT}."
        )
    return described


def read_rows(folder: Path, described: Mapping[str, Any]) -> FrozenDataset:
    """The frozen rows with which a version was trained and validated."""
    if ROWS not in described["files"]:
        raise RegistryError(f"{folder}: no rows were kept with this version, for it was imported. Give a --query.")
    _verify(folder, ROWS, described)
    return read_parquet(folder / ROWS)


def read_golden(folder: Path, described: Mapping[str, Any]) -> GoldenBatch:
    """The golden batch stored beside the model."""
    _verify(folder, GOLDEN, described)
    tensors = read_tensors(folder / GOLDEN)[0]
    count = sum(key.startswith("image.") for key in tensors)
    images = tuple(_golden_image(tensors, number) for number in range(count))
    outputs = []
    for number in range(count):
        places = sum(key.startswith(f"output.{number}.") for key in tensors)
        outputs.append(tuple(tensors[f"output.{number}.{place}"] for place in range(places)))
    return GoldenBatch(images, tuple(outputs))


def _golden_image(tensors: Mapping[str, torch.Tensor], number: int) -> GoldenImage:
    image = tensors[f"image.{number}"].numpy().tobytes()
    reference = tensors.get(f"reference.{number}")
    return image if reference is None else (image, reference.numpy().tobytes())


def check_golden(model: Model, golden: GoldenBatch, *, tolerance: float = _CLOSE) -> None:
    """Refuse a model whose outputs for the golden images differ from those of the model that was trained."""
    for number, (image, wanted) in enumerate(zip(golden.images, golden.outputs, strict=True)):
        if not all(bool(output.isfinite().all()) for output in wanted):
            raise RegistryError(
                f"golden image {number}: the model's outputs are NaN or infinite, so it can judge nothing. Nothing was "
                f"registered. Where a training diverged, a smaller -o learning_rate helps."
            )
        for output, expected in zip(_outputs(model, image), wanted, strict=True):
            if output.shape != expected.shape or not torch.allclose(output, expected, rtol=tolerance, atol=tolerance):
                raise RegistryError(
                    f"golden image {number}: the artifact does not reproduce the trained model's outputs, "
                    f"so the version was refused. Nothing was registered."
                )


def _prepared(model: Model, image: GoldenImage) -> torch.Tensor:
    files = (image,) if isinstance(image, bytes) else image
    return model.prepare(*map(decode, files))


def _outputs(model: Model, image: GoldenImage) -> tuple[torch.Tensor, ...]:
    with torch.inference_mode():
        return model.forward(_prepared(model, image)[None].to(model.device))


def _verify(folder: Path, name: str, described: Mapping[str, Any]) -> None:
    file = folder / name
    try:
        found = _sha256(file)
    except FileNotFoundError as error:
        raise RegistryError(
            f"{file}: this part of the artifact is missing. Restore it, or delete the version."
        ) from error
    if found != described["files"].get(name):
        raise RegistryError(f"{file}: was changed or truncated after it was registered. Restore it, or train again.")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
