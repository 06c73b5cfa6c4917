"""A model at work: its copies on devices, each with a thread of its own, in batches that fit."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import torch

from models_py.architectures import find_architecture
from models_py.devices import find_devices, mixed
from models_py.folding import fold_batch_norms
from models_py.model import Model
from models_py.preprocess import Size

_MOST = 64
_SECONDS_A_BATCH = 0.5  # of a CPU: an interrupted query waits no longer
_PIXELS_A_BATCH = 16 * 640 * 640
_SHARE_OF_MEMORY = 0.6
_threads: dict[torch.device, ThreadPoolExecutor] = {}
_threads_lock = threading.Lock()


def _thread_of(device: torch.device) -> ThreadPoolExecutor:
    """One thread a device: torch keeps a pool of workers for every thread that calls it.

    With more than two cores torch leaves one to DuckDB, which keeps it busy waiting for us: the slowest of torch's
    threads decides how long a step takes.
    """
    with _threads_lock:
        if not _threads:
            torch.set_num_threads(max(torch.get_num_threads() - 1, min(2, torch.get_num_threads())))
        if device not in _threads:
            _threads[device] = ThreadPoolExecutor(1, thread_name_prefix=f"duckspect-{device}")
        return _threads[device]


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image ready for the network (height, width, 3), and its size as it came."""

    square: torch.Tensor
    size: Size


@dataclass(frozen=True, slots=True)
class Kind:
    """What is asked of a model: what runs on the device, and how its outputs become answers."""

    name: str
    run: Callable[[Model, torch.Tensor], Any]
    read: Callable[[Model, Any, Sequence[Size]], list[Any]]
    size: Callable[[Any], int]


class Lane:
    """One copy of a model on one device."""

    def __init__(self, model: Model, device: torch.device, precision: str) -> None:
        self.model = model
        self.device = device
        self.precision = precision
        self.waiting = 0
        self._thread = _thread_of(device)
        self._thread.submit(self._move).result()

    def _move(self) -> None:
        self.model.network.to(self.device).to(memory_format=torch.channels_last).eval()

    def submit(self, work: Callable[[], list[Any]]) -> Future[list[Any]]:
        self.waiting += 1
        future = self._thread.submit(work)
        future.add_done_callback(self._done)
        return future

    def _done(self, _: Future[list[Any]]) -> None:
        self.waiting -= 1


class Engine:
    """A loaded model; `submit` answers batches on whichever device is least busy."""

    def __init__(self, model: Model, device: str = "auto", precision: str = "auto") -> None:
        devices = find_devices(device)
        if device == "auto" and devices[0].type == "cuda":
            devices = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
        if precision == "auto":
            precision = find_architecture(model.task, model.spec.architecture).defaults.get("precision", "auto")
        fold_batch_norms(model.network)
        self._lanes = [
            Lane(model if number == 0 else copy.deepcopy(model), place, precision)
            for number, place in enumerate(devices)
        ]
        self.prepare = model.prepare
        self.device = ",".join(str(place) for place in devices)
        side = model.spec.preprocess.size
        self.batch = self._most = max(1, min(_MOST, _PIXELS_A_BATCH // (side * side)))
        self._is_sized = False

    def submit(self, kind: Kind, thresholds: dict[str, float], items: Sequence[Prepared]) -> Future[list[Any]]:
        """Answer a batch in the device's thread."""
        lane = min(self._lanes, key=lambda item: item.waiting)
        return lane.submit(lambda: self._answer(lane, kind, thresholds, items))

    def _answer(self, lane: Lane, kind: Kind, thresholds: dict[str, float], items: Sequence[Prepared]) -> list[Any]:
        model = copy.copy(lane.model)
        model.spec = replace(model.spec, thresholds=thresholds)
        started = time.perf_counter()
        try:
            with torch.inference_mode():
                outputs = self._forward(lane, model, kind, items)
                answers = kind.read(model, outputs, [item.size for item in items])
        except RuntimeError as error:
            if len(items) == 1 or not _is_out_of_memory(error):
                raise
            return self._halve(lane, kind, thresholds, items)
        self._fit(lane, len(items), time.perf_counter() - started)
        return answers

    def _forward(self, lane: Lane, model: Model, kind: Kind, items: Sequence[Prepared]) -> Any:
        batch = torch.stack([item.square for item in items])
        if lane.device.type == "cuda":
            batch = batch.pin_memory().to(lane.device, non_blocking=True)
        with mixed(lane.device, lane.precision):
            return kind.run(model, batch.permute(0, 3, 1, 2))

    def _halve(self, lane: Lane, kind: Kind, thresholds: dict[str, float], items: Sequence[Prepared]) -> list[Any]:
        """The batch did not fit: use smaller ones from now on."""
        half = len(items) // 2
        self.batch = self._most = max(1, min(self.batch, half))
        self._is_sized = True
        if lane.device.type == "cuda":
            torch.cuda.empty_cache()
        parts = (items[:half], items[half:])
        return [answer for part in parts for answer in self._answer(lane, kind, thresholds, part)]

    def _fit(self, lane: Lane, images: int, seconds: float) -> None:
        """On a CPU batches take half a second at most; on a GPU they fill most of the free memory."""
        if lane.device.type == "cpu":
            ideal = _SECONDS_A_BATCH * images / seconds
            self.batch = max(1, min(self._most, round((self.batch + ideal) / 2)))
        elif not self._is_sized and images == self.batch:
            self._is_sized = True
            each = torch.cuda.max_memory_allocated(lane.device) / images
            free = torch.cuda.mem_get_info(lane.device)[0] * _SHARE_OF_MEMORY
            self.batch = max(self.batch, min(4 * self.batch, int(free / each)))


def _is_out_of_memory(error: RuntimeError) -> bool:
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in text or "can't allocate memory" in text
