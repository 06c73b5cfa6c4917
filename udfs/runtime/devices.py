"""Where networks run: the threads of each device, for the whole process.

OpenMP keeps a team of workers for every thread that calls it. Once there are more workers than cores they no longer
wait awake, but sleep between one layer and the next, and a small network takes twice as long. So all that torch does in
parallel is done by one thread, the first place's; the others compute alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import cache, partial
from typing import Any

import torch

from models_py.model.devices import find_devices
from udfs.threads import WorkerPool

_MOST_NARROW = 4
_lock = threading.Lock()
_setting_threads = threading.Lock()


class Device:
    """A thread that computes on a device; `at_work` counts what it has begun or is to begin."""

    def __init__(self, device: torch.device, name: str, threads: int) -> None:
        self.device = device
        self.threads = threads
        self.at_work = 0
        self._thread = WorkerPool(name, 1, partial(use_threads, threads))

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        with _lock:
            self.at_work += 1
        future = self._thread.submit(work)
        future.add_done_callback(self._done)
        return future

    def _done(self, _: Future[Any]) -> None:
        with _lock:
            self.at_work -= 1


class DeviceGroup:
    """The places of a device: one order alone gets all cores of a CPU, orders that come together one core each.

    That is faster in both cases: a network uses two cores less than twice as well as one.
    """

    def __init__(self, devices: Sequence[torch.device]) -> None:
        cores = torch.get_num_threads()
        self.first = Device(devices[0], str(devices[0]), _without_duckdb(cores))
        if devices[0].type == "cpu":
            lanes = min(cores, _MOST_NARROW) if cores > 1 else 0
            self._others = [Device(devices[0], f"cpu-{number}", cores // lanes) for number in range(lanes)]
        else:
            self._others = [Device(device, str(device), _without_duckdb(cores)) for device in devices[1:]]

    @property
    def all(self) -> list[Device]:
        return [self.first, *self._others]

    def choose(self) -> Device:
        """The place for the next order."""
        if all(place.at_work == 0 for place in self.all):
            return self.first
        return self.choose_narrow()

    def choose_narrow(self) -> Device:
        """The place for an order among others: on a CPU one core."""
        free = self._others if self._others and self.first.device.type == "cpu" else self.all
        return min(free, key=lambda place: place.at_work)


@cache
def places(name: str) -> DeviceGroup:
    """The places of `auto`, `cpu`, `cuda` or `cuda:1`; with `auto` those of all GPUs if there are any."""
    devices = find_devices(name)
    if name == "auto":
        if devices[0].type == "cpu":
            return places("cpu")
        devices = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    return DeviceGroup(devices)


def use_threads(count: int) -> None:
    """Have torch use so many threads in this thread.

    torch takes the latest number for the default of threads to come, so another thread sets it back: one at a time, or
    one of two would take the other's number for the default.
    """
    with _setting_threads:
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        restore = threading.Thread(target=torch.set_num_threads, args=(before,))
        restore.start()
        restore.join()


def _without_duckdb(cores: int) -> int:
    """With more than two cores torch leaves one to DuckDB, which keeps it busy waiting for us.

    The slowest of torch's threads decides how long a step takes.
    """
    return max(cores - 1, min(2, cores))
