"""A model at work: its copies on devices, each with a thread of its own, in batches that fit."""

from __future__ import annotations

import copy
import threading
import time
from collections import deque
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


@dataclass(frozen=True, slots=True)
class Ran:
    """The answers to one order, and the forward pass that it shared: how many images, and how long it took."""

    answers: list[Any]
    images: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Order:
    """Images to be answered together; orders of one kind and one operating point may share a forward pass."""

    kind: Kind
    thresholds: dict[str, float]
    items: Sequence[Prepared]
    future: Future[Ran]

    def may_share(self, other: _Order) -> bool:
        return self.kind is other.kind and self.thresholds == other.thresholds


class Lane:
    """One copy of a model on one device, and the orders that wait for it."""

    def __init__(self, model: Model, device: torch.device, precision: str) -> None:
        self.model = model
        self.device = device
        self.precision = precision
        self._orders: deque[_Order] = deque()
        self._lock = threading.Lock()
        self._thread = _thread_of(device)
        self._thread.submit(self._move).result()

    @property
    def waiting(self) -> int:
        """How many orders nobody has begun yet."""
        return len(self._orders)

    def _move(self) -> None:
        self.model.network.to(self.device).to(memory_format=torch.channels_last).eval()

    def submit(self, order: _Order, answer: Callable[[list[_Order]], None], most: Callable[[], int]) -> None:
        """Have an order answered by the device's thread, together with those that came while it was busy."""
        with self._lock:
            self._orders.append(order)
        self._thread.submit(self._serve, answer, most)

    def _serve(self, answer: Callable[[list[_Order]], None], most: Callable[[], int]) -> None:
        taken = [order for order in self._take(most()) if order.future.set_running_or_notify_cancel()]
        if taken:  # else an earlier turn took this one's order along
            answer(taken)

    def _take(self, most: int) -> list[_Order]:
        """The order that waits longest, and as many like it as fit into one batch."""
        with self._lock:
            if not self._orders:
                return []
            taken = [self._orders.popleft()]
            room = most - len(taken[0].items)
            left: deque[_Order] = deque()
            for order in self._orders:
                if len(order.items) <= room and order.may_share(taken[0]):
                    taken.append(order)
                    room -= len(order.items)
                else:
                    left.append(order)
            self._orders = left
            return taken


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

    def submit(self, kind: Kind, thresholds: dict[str, float], items: Sequence[Prepared]) -> Future[Ran]:
        """Answer a batch on the device that is least busy; what others ask of it meanwhile shares forward passes."""
        lane = min(self._lanes, key=lambda item: item.waiting)
        order = _Order(kind, thresholds, items, Future())
        lane.submit(order, lambda orders: self._settle(lane, orders), lambda: self.batch)
        return order.future

    def _settle(self, lane: Lane, orders: list[_Order]) -> None:
        """Answer orders in one forward pass; if it fails, each on its own, so that none fails for another's sake."""
        first = orders[0]
        items = [item for order in orders for item in order.items]
        started = time.perf_counter()
        try:
            answers = self._answer(lane, first.kind, first.thresholds, items)
        except Exception as error:  # noqa: BLE001 - whoever ordered gets it
            if len(orders) == 1:
                first.future.set_exception(error)
            else:
                for order in orders:
                    self._settle(lane, [order])
            return
        seconds, place = time.perf_counter() - started, 0
        for order in orders:
            order.future.set_result(Ran(answers[place : place + len(order.items)], len(items), seconds))
            place += len(order.items)

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
