"""ONNX for other runtimes: prepared uint8 images in, the network's outputs out, checked against torch.

    python -m models_py.registry.compiled.onnx FOLDER SHA256 OUTPUT

writes an artifact as ONNX and prints, as JSON, how far its outputs are from torch's.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models_py.errors import DuckspectError, RegistryError
from models_py.files.durable import replacing
from models_py.model.architectures import find_architecture
from models_py.model.trained_model import Model

_TOLERANCE = 1e-3
_MISSING = "ONNX needs the packages onnx, onnxruntime and onnxscript. Install them with: pip install 'duckspect[onnx]'"


class _ExportedNetwork(nn.Module):
    """A model's computation as one module. YOLO has no suppression of duplicates: runtimes implement it differently.

    It works on a copy of the network, because tracing changes it.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model = copy.deepcopy(model)
        self.network = self._model.network.eval()
        for part in self.network.modules():
            if hasattr(part, "dynamic"):  # otherwise a YOLO accepts only the batch size it was traced with
                setattr(part, "dynamic", True)  # noqa: B010 - a module's attributes are typed as tensors

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self._model.compute(images)


def export_onnx(model: Model, file: Path, batch: torch.Tensor, *, tolerance: float = _TOLERANCE) -> float:
    """Write the model, compare both on a prepared batch, and return the largest difference relative to the range."""
    if find_architecture(model.task, model.spec.architecture).family == "torchvision_detection":
        raise RegistryError(
            f"{model.spec.architecture}: torchvision's detectors cannot be exported to ONNX with a batch of any size. "
            f"Train a YOLO to export one."
        )
    whole = _ExportedNetwork(model)
    try:
        with replacing(file, ".onnx") as partial:
            with _quiet():
                _write(whole, batch, partial, model)
            apart = max(_difference(whole, part, partial) for part in (batch[:1], torch.cat([batch, batch])))
            if apart > tolerance:
                raise RegistryError(
                    f"{file}: ONNX differs from torch by {apart:.2g} of the range, so it was not written."
                )
    except ImportError as error:
        raise DuckspectError(_MISSING) from error
    except OSError as error:
        raise RegistryError(f"{file}: cannot be written: {error.strerror}.") from error
    return apart


def _write(whole: nn.Module, batch: torch.Tensor, file: Path, model: Model) -> None:
    import onnx

    torch.onnx.export(
        whole,
        (torch.cat([batch, batch])[:2],),
        str(file),
        input_names=["images"],
        output_names=["outputs"],
        dynamic_shapes={"images": {0: torch.export.Dim("images_in_batch", min=1)}},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    stored = onnx.load(str(file))
    spec = model.spec
    described = {"labels": list(spec.labels), "preprocess": spec.preprocess.as_dict()}
    for key, value in {"task": spec.task, **described}.items():
        stored.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    onnx.save(stored, str(file))


def _difference(whole: nn.Module, batch: torch.Tensor, file: Path) -> float:
    import onnxruntime

    with torch.inference_mode():
        wanted = whole(batch).numpy()
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found = np.asarray(session.run(None, {"images": batch.numpy()})[0])
    return float(np.abs(found - wanted).max() / max(float(np.ptp(wanted)), 1e-6))


_TALKATIVE = ("torch.onnx", "torch.export", "torch._export", "onnxscript", "onnx_ir")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks a lot, to everybody in its process; that is one of its own where it matters."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def main(arguments: list[str]) -> int:
    """How far the file is from torch as one line of JSON, or a sentence that says why there is none."""
    from models_py.registry.artifact import load_artifact, read_golden, read_spec

    folder, sha256, output = Path(arguments[0]), arguments[1], Path(arguments[2])
    try:
        golden = read_golden(folder, read_spec(folder, sha256))
        model = load_artifact(folder, sha256)
        apart = export_onnx(model, output, golden.prepared(model))
    except DuckspectError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps({"apart": apart}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
