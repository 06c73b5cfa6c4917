"""Compiled (ONNX) networks: made from an artifact in a process of its own, and run on CPUs in place of torch.

    python -m models_py.registry.compiled.network FOLDER SHA256 OUTPUT

writes the compiled form of an artifact and prints, as JSON, how far its outputs are from torch's and how fast both are.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models_py.errors import DuckspectError, RegistryError
from models_py.files.durable import make_folders

if TYPE_CHECKING:
    import onnxruntime

    from models_py.model.trained_model import Model

Compute = Callable[[torch.Tensor], torch.Tensor]

_CLOSE = 1e-4
_BLOCKS, _RUNS = 5, 6
_SECONDS = 15.0


class CompiledNetwork:
    """A compiled network, read once and checked; `on` runs it on so many threads."""

    def __init__(self, file: Path, sha256: str | None = None) -> None:
        try:
            self._data = file.read_bytes()
        except OSError as error:
            raise RegistryError(f"{file}: the compiled form cannot be read: {error.strerror}.") from error
        if sha256 is not None and hashlib.sha256(self._data).hexdigest() != sha256:
            raise RegistryError(f"{file}: the compiled form was changed after it was made.")
        self._lock = threading.Lock()
        self._sessions: dict[int, onnxruntime.InferenceSession] = {}

    def on(self, threads: int) -> Compute:
        """A function that replaces the network's forward pass; it may be called from several threads at once."""
        session = self._session(threads)

        def compute(batch: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(np.asarray(session.run(None, {"images": batch.contiguous().numpy()})[0]))

        return compute

    def _session(self, threads: int) -> onnxruntime.InferenceSession:
        import onnxruntime

        with self._lock:
            if threads not in self._sessions:
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = threads
                options.log_severity_level = 3
                # Without this, ONNX Runtime's waiting threads spin, on the cores that decode the next images.
                options.add_session_config_entry("session.intra_op.allow_spinning", "0")
                self._sessions[threads] = onnxruntime.InferenceSession(
                    self._data, options, providers=["CPUExecutionProvider"]
                )
            return self._sessions[threads]


def make(folder: Path, sha256: str, output: Path) -> dict[str, Any]:
    """Write the compiled form of an artifact, checked against torch on its golden images, and time both."""
    from models_py.registry.artifact import load_artifact, read_golden, read_spec
    from models_py.registry.compiled.folding import fold_batch_norms
    from models_py.registry.compiled.onnx import export_onnx

    model = load_artifact(folder, sha256)
    prepared = read_golden(folder, read_spec(folder, sha256)).prepared(model)
    fold_batch_norms(model.network)
    make_folders(output.parent)
    try:
        apart = export_onnx(model, output, prepared, tolerance=_CLOSE)
    except RegistryError as error:  # the network cannot be exported, so it stays with torch
        return {"refused": str(error)}
    batch = prepared[:1]
    compiled, cores = CompiledNetwork(output), torch.get_num_threads()
    times = []
    for threads in (cores, 1):  # a single request gets all cores, an image of a table one
        torch.set_num_threads(threads)
        times.append(_times(_by_torch(model), compiled.on(threads), batch))
    by_torch, by_compiled = (statistics.mean(column) for column in zip(*times, strict=True))
    return {"apart": apart, "torch_ms": by_torch, "compiled_ms": by_compiled}


def _by_torch(model: Model) -> Compute:
    """The network's forward pass by torch, as the runtime runs it."""
    from models_py.model.architectures import find_architecture
    from models_py.model.devices import mixed

    precision = find_architecture(model.task, model.spec.architecture).defaults.get("precision", "auto")
    model = copy.copy(model)
    model.network.to(memory_format=torch.channels_last).eval()

    def compute(batch: torch.Tensor) -> torch.Tensor:
        with mixed(torch.device("cpu"), precision):
            return model.compute(batch)

    return compute


def _times(first: Compute, second: Compute, batch: torch.Tensor) -> tuple[float, float]:
    """Milliseconds that each takes for a batch: medians of alternating rounds, so that neither slows the other down."""
    times: dict[int, list[float]] = {0: [], 1: []}
    until = time.perf_counter() + _SECONDS
    for block in range(_BLOCKS):
        for place, compute in enumerate((first, second)):
            for run in range(_RUNS):
                started = time.perf_counter()
                with torch.inference_mode():
                    compute(batch)
                if run or block:
                    times[place].append(time.perf_counter() - started)
        if time.perf_counter() > until:
            break
    return 1000 * statistics.median(times[0]), 1000 * statistics.median(times[1])


def main(arguments: list[str]) -> int:
    """Print what was made, or why torch stays in use, as one line of JSON."""
    os.nice(10)  # a server may be running on the same machine
    folder, sha256, output = arguments
    try:
        found = make(Path(folder), sha256, Path(output))
    except DuckspectError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
