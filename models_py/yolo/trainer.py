"""Ultralytics' own trainer, told everything by one folder: rows, options and first weights, none of it pickled.

Several GPUs are several processes that read the same folder, so what one process can do, all can.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch

from models_py.datasets import DatasetRow, read_parquet
from models_py.datasets.prepared_images import PreparedImages, read_image
from models_py.model.devices import half
from models_py.model.preprocess import Preprocess, resize
from models_py.model.tensors import read_tensors, write_tensors
from models_py.progress import Counted, TrainingReport, counting, no_progress
from models_py.yolo import ultralytics, ultralytics_environment
from models_py.yolo.network import YoloNetwork
from models_py.yolo.process_state import borrowed_process

ultralytics()  # sets it up before anything of it is imported
with borrowed_process(ultralytics_environment()):
    from ultralytics.data import YOLODataset
    from ultralytics.models.yolo.detect import DetectionTrainer

JOB, ROWS, FIRST = "job.json", "rows.parquet", "first.safetensors"
LAST, BEST = "last.safetensors", "best.safetensors"

Measure = Callable[[torch.nn.Module, Mapping[str, Any], Sequence[DatasetRow], Counted], Mapping[str, float | None]]
"""Metrics of a network on rows, given the job that describes it and a counter of images; the task has it."""


class YoloRows(YOLODataset):
    """Training rows as Ultralytics wants them, decoded by our decoder; no label file is read or written."""

    def __init__(
        self, rows: tuple[DatasetRow, ...], labels: list[str], see: Preprocess, progress: Counted, **arguments: Any
    ) -> None:
        self._rows = rows
        self._progress = progress
        self._labels = {label: number for number, label in enumerate(labels)}
        self._preprocess = see
        self._cut = PreparedImages(rows, labels, see) if see.tile else None
        if self._cut is not None:
            self._rows = self._cut.rows
        self._decoded: dict[int, np.ndarray[Any, Any]] = {}
        super().__init__(
            img_path="", task="detect", data={"names": dict(enumerate(labels)), "channels": 3}, **arguments
        )
        self._progress = no_progress  # the rows are sent to processes that read images

    def get_img_files(self, img_path: str) -> list[str]:  # noqa: ARG002 - Ultralytics' name
        return [row.image for row in self._rows]

    def get_labels(self) -> list[dict[str, Any]]:
        found = []
        for index in range(len(self._rows)):
            found.append(self._label(index))
            self._progress(index + 1, len(self._rows))
        return found

    def _label(self, index: int) -> dict[str, Any]:
        row = self._rows[index]
        height, width = self._pixels(index).shape[:2]
        known = [  # a region that was found to be good is none
            (self._labels[label], box)
            for label, box in zip(row.labels, row.boxes, strict=True)
            if label in self._labels
        ]
        boxes = np.array([box for _, box in known], np.float32).reshape(-1, 4).clip(0, [width, height, width, height])
        classes = [[number] for number, _ in known]
        centred = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
        return {
            "im_file": row.image,
            "shape": (height, width),
            "cls": np.array(classes, np.float32).reshape(-1, 1),
            "bboxes": (centred / [width, height, width, height]).astype(np.float32),
            "segments": [],
            "keypoints": None,
            "normalized": True,
            "bbox_format": "xywh",
        }

    def _pixels(self, index: int) -> np.ndarray[Any, Any]:
        """What the network sees of the image, as BGR, kept in memory while it fits."""
        if (kept := self._decoded.get(index)) is not None:
            return kept
        if self._cut is not None:
            return np.ascontiguousarray(self._cut[index].image[..., ::-1])
        row = self._rows[index]
        reference = read_image(row.reference) if self._preprocess.reference and row.reference else None
        pixels = np.ascontiguousarray(self._preprocess.see(read_image(row.image), reference)[..., ::-1])
        if len(self._decoded) * pixels.nbytes < 2 << 30:
            self._decoded[index] = pixels
        return pixels

    def load_image(self, i: int, rect_mode: bool = True, resize_short: bool = False) -> Any:  # noqa: ARG002
        """Decode and scale an image so that its longer side is the network's, as Preprocess does."""
        if self.ims[i] is not None:
            return self.ims[i], self.im_hw0[i], self.im_hw[i]
        pixels = self._pixels(i)
        height, width = pixels.shape[:2]
        scale = self.imgsz / max(height, width)
        scaled = pixels if scale == 1 else resize(pixels, (round(height * scale), round(width * scale)), smooth=False)
        if self.augment:  # mosaics are made of images used lately
            self.ims[i], self.im_hw0[i], self.im_hw[i] = scaled, (height, width), scaled.shape[:2]
            self.buffer.append(i)
            if 1 < len(self.buffer) >= self.max_buffer_length:
                oldest = self.buffer.pop(0)
                self.ims[oldest], self.im_hw0[oldest], self.im_hw[oldest] = None, None, None
        return scaled, (height, width), scaled.shape[:2]


class YoloTrainer(DetectionTrainer):
    """Ultralytics' trainer with our rows, our metrics and our checkpoints."""

    def __init__(self, folder: Path, report: TrainingReport, measure: Measure) -> None:
        self._folder = folder
        self._measure = measure
        self._job = json.loads((folder / JOB).read_text())
        self._report = report
        self._snapshot = read_parquet(folder / ROWS)
        arguments = self._job["arguments"] | {"save_dir": str(folder), "plots": False, "verbose": False, "amp": False}
        arguments |= {"model": "duckspect.yaml", "data": str(folder), "pretrained": False}
        threads = torch.get_num_threads()
        super().__init__(overrides=arguments)
        torch.set_num_threads(threads)  # Ultralytics leaves a core of a CPU idle
        self.add_callback("on_train_batch_end", YoloTrainer._stepped)
        self.add_callback("on_fit_epoch_end", YoloTrainer._ended)

    def get_dataset(self) -> dict[str, Any]:
        labels = self._job["labels"]
        return {"train": "train", "val": "val", "names": dict(enumerate(labels)), "nc": len(labels), "channels": 3}

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> YoloRows:
        return YoloRows(
            self._snapshot.part(img_path),
            self._job["labels"],
            Preprocess.from_dict(self._job["preprocess"]),
            counting(self._report, "Decoding images"),
            imgsz=self.args.imgsz,
            batch_size=batch or self.batch_size,
            augment=mode == "train",
            hyp=self.args,
            rect=False,
            stride=32,
        )

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:  # noqa: ARG002
        network = YoloNetwork(self._job["architecture"], len(self._job["labels"]))
        network.load_state_dict(read_tensors(self._folder / FIRST)[0])
        return self.set_model_names_for_load(network.model)

    def _setup_train(self) -> None:
        super()._setup_train()
        self.amp = half(self.device, self._job["precision"])
        if self.amp and self.device.type == "cuda":
            self.args.amp = "bf16"
        self._own().to(memory_format=torch.channels_last)
        self._resume()

    def _resume(self) -> None:
        """Go on after the last whole epoch, if there is one."""
        if not (self._folder / LAST).exists():
            return
        tensors, metadata = read_tensors(self._folder / LAST)
        progress = json.loads(metadata["progress"])
        self._own().load_state_dict(_part(tensors, "network."))
        self.ema.ema.load_state_dict(_part(tensors, "ema."))
        self.ema.updates = progress["updates"]
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in _part(tensors, "optimizer.").items():
            number, name = key.split(".", 1)
            state.setdefault(int(number), {})[name] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})
        self.best_fitness, self.start_epoch = progress["best_fitness"], progress["epoch"]
        self.stopper.best_fitness, self.stopper.best_epoch = progress["best_fitness"], progress["best_epoch"]
        self.scheduler.last_epoch = self.start_epoch - 1

    def _own(self) -> torch.nn.Module:
        return cast("torch.nn.Module", getattr(self.model, "module", self.model))

    def validate(self) -> tuple[dict[str, Any], float]:
        """Judge the averaged weights by our own definition of mAP."""
        network = YoloNetwork.__new__(YoloNetwork)
        torch.nn.Module.__init__(network)
        network.model = self.ema.ema
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            found = self._measure(network, self._job, self._snapshot.part("val"), counting(self._report, "Validating"))
        fitness = 0.1 * (found["map50"] or 0.0) + 0.9 * (found["map50_95"] or 0.0)
        if self.best_fitness is None or self.best_fitness < fitness:
            self.best_fitness = fitness
        return {f"val/{name}": found[name] for name in ("map33", "map50", "map50_95")}, fitness

    def save_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Keep no csv: the report has the metrics."""

    def save_model(self) -> bool:
        """Write the averaged weights if they are the best, and all that resuming needs."""
        averaged = {f"ema.{key}": value for key, value in self.ema.ema.state_dict().items()}
        weights = {f"network.{key}": value for key, value in self._own().state_dict().items()}
        state = {
            f"optimizer.{number}.{key}": torch.as_tensor(value)
            for number, values in self.optimizer.state_dict()["state"].items()
            for key, value in values.items()
        }
        progress = {
            "epoch": self.epoch + 1,
            "best_fitness": self.best_fitness,
            "best_epoch": self.stopper.best_epoch,
            "updates": self.ema.updates,
            "last_metrics": self._measured(),
        }
        if self.best_fitness == self.fitness:
            write_tensors({f"model.{key[4:]}": value for key, value in averaged.items()}, self._folder / BEST)
        write_tensors(averaged | weights | state, self._folder / LAST, {"progress": json.dumps(progress)})
        return True

    def final_eval(self) -> None:
        """The best weights are judged where they are registered."""

    def _stepped(self) -> None:
        steps = len(self.train_loader)
        self._step = (getattr(self, "_step", -1) + 1) % steps
        loss = float(sum(float(value) for value in self.tloss.values()))
        self._report.step(self.epoch + 1, self.epochs, self._step + 1, steps, loss)

    def _ended(self) -> None:
        self._report.epoch(self.epoch + 1, self._measured())

    def _measured(self) -> dict[str, float | None]:
        """The losses and metrics of this epoch."""
        losses = {f"train/{key}": float(value) for key, value in self.tloss.items()}
        metrics = {key: None if value is None else float(value) for key, value in self.metrics.items()}
        return {"train/loss": sum(losses.values()), **losses, **metrics}


def _part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def train(folder: Path, report: TrainingReport, measure: Measure) -> None:
    """Train as the folder says, in this process: alone, or as one of several that read the same folder."""
    with borrowed_process(ultralytics_environment()):
        cv2.setNumThreads(0)  # as its import does: its rows are read by threads or processes of their own
        YoloTrainer(folder, report, measure).train()
