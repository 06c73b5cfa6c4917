"""A model at work: its copies on devices, each with a thread of its own, in batches that fit."""

from __future__ import annotations

import copy
import importlib.util
import logging
import statistics
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Generic

import torch

from models_py.errors import RegistryError
from models_py.images.tiles import TilePlace
from models_py.model.architectures import find_architecture
from models_py.model.devices import mixed
from models_py.model.preprocess import Size
from models_py.model.tiles import TILES_AT_ONCE
from models_py.model.trained_model import Model, Outputs
from models_py.registry import Version, load_artifact
from models_py.registry.compiled.folding import fold_batch_norms
from models_py.registry.compiled.network import CompiledNetwork
from udfs.runtime.devices import Device, places
from udfs.runtime.image_reader import DecodedImage
from udfs.runtime.output_kinds import A, OutputKind
from udfs.runtime.results import PredictionResult

_log = logging.getLogger("duckspect")
_MOST = 64
_WORTH_A_WORKER = 4
_WORTH_ALL_CORES = 0.85  # of the time on one; the others have images to decode
_SINGLES_KEPT, _SINGLES_NEEDED, _LOOK_AGAIN = 9, 3, 256
_SECONDS_A_BATCH = 0.5  # of a CPU: an interrupted query waits no longer
_PIXELS_A_BATCH = 16 * 640 * 640
_SHARE_OF_MEMORY = 0.6


@dataclass(frozen=True, slots=True)
class PreparedInput:
    """An image ready for the network (height, width, 3), and its size as it came."""

    square: torch.Tensor
    size: Size


@dataclass(frozen=True, slots=True)
class BatchResult(Generic[A]):
    """The answers to one request, and the forward pass that it shared: how many images, and how long it took."""

    results: list[PredictionResult[A]]
    images: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _BatchRequest(Generic[A]):
    """Images to be answered together; requests of one kind and one operating point may share a forward pass."""

    kind: OutputKind[A]
    thresholds: dict[str, float]
    items: Sequence[PreparedInput]
    future: Future[BatchResult[A]]

    def may_share(self, other: _BatchRequest[A]) -> bool:
        return self.kind is other.kind and self.thresholds == other.thresholds


@dataclass(frozen=True, slots=True)
class DeviceWorker:
    """A copy of a model at a place."""

    place: Device
    model: Model
    precision: str

    def move(self) -> None:
        """Bring the copy to its device."""
        self.model.network.to(self.place.device).to(memory_format=torch.channels_last).eval()


class _SingleImageTimes:
    """How long single images took lately, on all cores and on one; a small network gains nothing from the second."""

    def __init__(self) -> None:
        self._seconds = {is_wide: deque[float](maxlen=_SINGLES_KEPT) for is_wide in (True, False)}
        self._asked = 0

    def note(self, seconds: float, *, is_wide: bool) -> None:
        self._seconds[is_wide].append(seconds)

    def wants_all_cores(self) -> bool:
        """Whether the next single image should have them; now and then the slower way, for times change."""
        for is_wide, known in self._seconds.items():
            if len(known) < _SINGLES_NEEDED:
                return is_wide
        wide, narrow = (statistics.median(self._seconds[is_wide]) for is_wide in (True, False))
        self._asked += 1
        return (wide < _WORTH_ALL_CORES * narrow) != (self._asked % _LOOK_AGAIN == 0)


class Batcher:
    """A loaded model; `submit` answers batches wherever there is room, and what is asked meanwhile shares them."""

    @classmethod
    def load(cls, version: Version, device: str, precision: str) -> Batcher:
        """Load an artifact, verified, in this thread: those of the devices answer meanwhile."""
        model = load_artifact(version.folder, version.artifact_sha256)
        is_torch = places(device).first.device.type != "cpu" or precision == "bf16"
        found = cls(model, device, precision, None if is_torch else _compiled(version))
        found.compiled_sha256 = version.compiled_sha256
        return found

    def __init__(
        self, model: Model, device: str = "auto", precision: str = "auto", compiled: CompiledNetwork | None = None
    ) -> None:
        self.compiled_sha256: str | None = None
        if precision == "auto":
            precision = find_architecture(model.task, model.spec.architecture).defaults.get("precision", "auto")
        self._places = places(device)
        fold_batch_norms(model.network)
        self._workers = {place: self._worker(model, place, precision, compiled) for place in self._places.all}
        self._requests: deque[_BatchRequest[Any]] = deque()
        self._lock = threading.Lock()
        self._at_work = 0
        self._paces: defaultdict[str, _SingleImageTimes] = defaultdict(_SingleImageTimes)
        self._spec = model.spec
        self.device = ",".join(dict.fromkeys(str(place.device) for place in self._places.all))
        side = model.spec.preprocess.size
        self.batch = self._most = max(1, min(_MOST, _PIXELS_A_BATCH // (side * side)))
        self._is_sized = False

    @property
    def is_tiled(self) -> bool:
        """Whether images are cut into tiles, so that one image is many inputs."""
        return self._spec.preprocess.tile

    def prepared(self, image: DecodedImage) -> PreparedInput:
        """An image as the network takes it; any thread may do it."""
        square = self._spec.preprocess(image.pixels, image.reference).permute(1, 2, 0).contiguous()
        return PreparedInput(square, (image.pixels.shape[1], image.pixels.shape[2]))

    def answer(self, kind: OutputKind[A], thresholds: dict[str, float], image: DecodedImage) -> Future[BatchResult[A]]:
        """Answer one image, whole or by its tiles; of tiles this thread cuts a few at a time and waits for them."""
        if not self.is_tiled:
            return self.submit(kind, thresholds, [self.prepared(image)])
        done: Future[BatchResult[A]] = Future()
        started = time.perf_counter()
        result = self.by_tiles(kind, thresholds, image)
        done.set_result(BatchResult([result], 1, time.perf_counter() - started))
        return done

    def by_tiles(
        self,
        kind: OutputKind[A],
        thresholds: dict[str, float],
        image: DecodedImage,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> PredictionResult[A]:
        """Answer an image by its tiles; no more than a few are in memory at once."""
        if kind.of_tiles is None:
            raise ValueError(f"{kind.name} cannot be asked of tiles")
        side = self._spec.preprocess.size
        found: list[tuple[TilePlace, Any]] = []
        for cut, batch in self._spec.preprocess.tiles(image.pixels, image.reference, TILES_AT_ONCE):
            items = [PreparedInput(square, (side, side)) for square in batch.permute(0, 2, 3, 1)]
            results = self.submit(kind.of_tiles.kind, thresholds, items).result().results
            if error := next((result.error for result in results if result.error), None):
                return PredictionResult(error=error)
            if is_stopped():
                return PredictionResult(error="the query was stopped")
            found += zip(cut, (result.answer for result in results), strict=True)
        spec = replace(self._spec, thresholds=thresholds)
        return PredictionResult(kind.of_tiles.merge(spec, found, (image.pixels.shape[1], image.pixels.shape[2])))

    def _worker(self, model: Model, place: Device, precision: str, compiled: CompiledNetwork | None) -> DeviceWorker:
        """Of the modules each place has a copy, for they may keep state; the weights on one device are the same."""
        first = self._places.first
        if place is not first:
            tensors = (*model.network.parameters(), *model.network.buffers()) if place.device == first.device else ()
            model = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
        if compiled is not None:
            model = copy.copy(model)
            model.stand_in = compiled.on(place.threads)
        worker = DeviceWorker(place, model, precision)
        worker.move()
        return worker

    def submit(
        self, kind: OutputKind[A], thresholds: dict[str, float], items: Sequence[PreparedInput]
    ) -> Future[BatchResult[A]]:
        """Answer a batch; what others ask before it is begun may share its forward pass."""
        request = _BatchRequest(kind, thresholds, items, Future[BatchResult[A]]())
        with self._lock:
            self._requests.append(request)
            is_wide = len(items) > 1 or self._paces[kind.name].wants_all_cores()
        self._call(self._places.choose() if is_wide else self._places.choose_narrow())
        return request.future

    def _call(self, place: Device) -> None:
        place.submit(lambda: self._take_turn(self._workers[place]))

    def _take_turn(self, worker: DeviceWorker) -> None:
        """Answer one batch of what waits; a few images are left to a worker that is busy, for together is cheaper.

        What still waits then gets another turn behind those of other models, so that none starves another.
        """
        with self._lock:
            if self._at_work and sum(len(request.items) for request in self._requests) < self._worth_a_worker:
                return
            taken = self._take()
            self._at_work += 1
        try:
            begun = [request for request in taken if request.future.set_running_or_notify_cancel()]
            if begun:
                self._settle(worker, begun)
        finally:
            with self._lock:
                self._at_work -= 1
                is_more = bool(self._requests)
            if is_more:
                self._call(self._places.choose_narrow())

    def _take(self) -> list[_BatchRequest[Any]]:
        """The request that waits longest, and as many like it as fit into one batch."""
        if not self._requests:
            return []
        taken = [self._requests.popleft()]
        room = self.batch - len(taken[0].items)
        left: deque[_BatchRequest[Any]] = deque()
        for request in self._requests:
            if len(request.items) <= room and request.may_share(taken[0]):
                taken.append(request)
                room -= len(request.items)
            else:
                left.append(request)
        self._requests = left
        return taken

    @property
    def _worth_a_worker(self) -> int:
        """How many waiting images are reason enough for one more worker."""
        return min(_WORTH_A_WORKER, max(1, self.batch // 2)) if self._places.first.device.type == "cpu" else 1

    def _settle(self, worker: DeviceWorker, requests: list[_BatchRequest[A]]) -> None:
        """Answer requests in one forward pass; if it fails, each on its own, so that none fails for another's sake."""
        first = requests[0]
        items = [item for request in requests for item in request.items]
        started = time.perf_counter()
        try:
            results = self._answer(worker, first.kind, first.thresholds, items)
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            if len(requests) == 1:
                first.future.set_exception(error)
            else:
                for request in requests:
                    self._settle(worker, [request])
            return
        seconds, place = time.perf_counter() - started, 0
        for request in requests:
            request.future.set_result(BatchResult(results[place : place + len(request.items)], len(items), seconds))
            place += len(request.items)

    def _answer(
        self, worker: DeviceWorker, kind: OutputKind[A], thresholds: dict[str, float], items: Sequence[PreparedInput]
    ) -> list[PredictionResult[A]]:
        model = copy.copy(worker.model)
        model.spec = replace(model.spec, thresholds=thresholds)
        started = time.perf_counter()
        try:
            with torch.inference_mode():
                outputs = self._forward(worker, model, kind, items)
                results = kind.results(model, outputs, [item.size for item in items])
        except RuntimeError as error:
            if len(items) == 1 or not _is_out_of_memory(error):
                raise
            return self._halve(worker, kind, thresholds, items)
        seconds = time.perf_counter() - started
        self._fit(worker, len(items), seconds)
        if len(items) == 1:
            with self._lock:
                self._paces[kind.name].note(seconds, is_wide=worker.place is self._places.first)
        return results

    def _forward(
        self, worker: DeviceWorker, model: Model, kind: OutputKind[A], items: Sequence[PreparedInput]
    ) -> Outputs:
        batch = torch.stack([item.square for item in items])
        if worker.place.device.type == "cuda":
            batch = batch.pin_memory().to(worker.place.device, non_blocking=True)
        with mixed(worker.place.device, worker.precision):
            return kind.run(model, batch.permute(0, 3, 1, 2))

    def _halve(
        self, worker: DeviceWorker, kind: OutputKind[A], thresholds: dict[str, float], items: Sequence[PreparedInput]
    ) -> list[PredictionResult[A]]:
        """The batch did not fit: use smaller ones from now on."""
        half = len(items) // 2
        self.batch = self._most = max(1, min(self.batch, half))
        self._is_sized = True
        if worker.place.device.type == "cuda":
            torch.cuda.empty_cache()
        parts = (items[:half], items[half:])
        return [result for part in parts for result in self._answer(worker, kind, thresholds, part)]

    def _fit(self, worker: DeviceWorker, images: int, seconds: float) -> None:
        """On a CPU batches take half a second at most; on a GPU they fill most of the free memory."""
        if worker.place.device.type == "cpu":
            ideal = _SECONDS_A_BATCH * images / seconds
            self.batch = max(1, min(self._most, round((self.batch + ideal) / 2)))
        elif not self._is_sized and images == self.batch:
            self._is_sized = True
            each = torch.cuda.max_memory_allocated(worker.place.device) / images
            free = torch.cuda.mem_get_info(worker.place.device)[0] * _SHARE_OF_MEMORY
            self.batch = max(self.batch, min(4 * self.batch, int(free / each)))


def _compiled(version: Version) -> CompiledNetwork | None:
    """The compiled form of a version; torch answers just as well without it."""
    if version.compiled_sha256 is None:
        return None
    if importlib.util.find_spec("onnxruntime") is None:
        _log.warning("%s runs in torch: install its faster form's runtime, duckspect[onnx]", version.reference)
        return None
    try:
        return CompiledNetwork(version.compiled_file, version.compiled_sha256)
    except RegistryError as error:
        _log.warning("%s Torch runs it. Try: duckspect models compile %s", error, version.reference)
        return None


def _is_out_of_memory(error: RuntimeError) -> bool:
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in text or "can't allocate memory" in text
