"""Features of frozen backbones, computed once per image and kept on disk.

What a frozen backbone makes of an image, or of a tile of one, depends on its pixels, its preprocessing, the backbone's
weights and what is computed from its maps, and on nothing else. So a file per image, named by the hash of its bytes,
lies in a folder named by the hash of the rest, and every training that asks for the same features reads it: a second
training, the trials of a search, another head. Features are rounded to half precision before anyone sees them, so that
a training gives the same weights whether they were read or computed. A file that is torn or gone is computed again, so
nothing is synced; when the folder has grown beyond its limit, the files that were not used for the longest time go.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from models_py.datasets.prepared_images import PreparedImages, stack
from models_py.model.devices import find_devices, mixed
from models_py.model.options import TrainingOptions
from models_py.progress import TrainingReport

Maps = tuple[torch.Tensor, ...]
MOST_BYTES = 4 << 30
_LEAST_PART = 0.8
"""Share of the limit to which the folder shrinks, so that not every training has to list it."""


@dataclass(frozen=True, slots=True)
class Extractor:
    """A frozen network, and what it computes from a normalised batch: tensors with one row for each image."""

    network: nn.Module
    compute: Callable[[torch.Tensor], Sequence[torch.Tensor]]
    what: str
    """Names what is computed; another computation needs another name."""


@dataclass(frozen=True, slots=True)
class FeatureCache:
    """The folder of all features, and how large it may grow."""

    folder: Path
    most_bytes: int = MOST_BYTES

    def features(
        self, extractor: Extractor, data: PreparedImages, options: TrainingOptions, report: TrainingReport
    ) -> Iterator[Maps]:
        """Yield the features of all rows in order, in batches of `options.batch` and single precision."""
        device = find_devices(options.device)[0]
        network = extractor.network.to(device).to(memory_format=torch.channels_last).eval()
        place = self.folder / _key(extractor, data, options, device)
        known = done = 0
        report.progress("Computing features", done, len(data))
        for start in range(0, len(data), options.batch):
            numbers = range(start, min(start + options.batch, len(data)))
            files = [place / f"{data.content(number)}.safetensors" for number in numbers]
            found = _read(files)
            known += len(files) * (found is not None)
            if found is None:
                found = _compute(extractor, data, numbers, options, device)
                _write(place, files, found)
            yield tuple(part.float() for part in found)
            done += len(files)
            report.progress("Computing features", done, len(data))
        network.to("cpu").to(memory_format=torch.contiguous_format)
        if known:
            report.note(f"Features of {known} of {len(data)} images were there from before.")
        self._shrink()

    def _shrink(self) -> None:
        """Delete the files that were not used for the longest time, if the folder is larger than its limit."""
        files = []
        for file in self.folder.rglob("*.safetensors"):
            with contextlib.suppress(FileNotFoundError):  # another training shrinks it as well
                status = file.stat()
                files.append((status.st_mtime, status.st_size, file))
        size = sum(item[1] for item in files)
        if size <= self.most_bytes:
            return
        for _, bytes_of_file, file in sorted(files):
            if size <= self.most_bytes * _LEAST_PART:
                break
            file.unlink(missing_ok=True)
            size -= bytes_of_file


def _read(files: Sequence[Path]) -> Maps | None:
    """The features of a batch, or None if those of any image are missing: batches are computed whole."""
    try:
        found = [load_file(file) for file in files]
        for file in files:
            os.utime(file)
    except (OSError, SafetensorError):
        return None
    return tuple(torch.stack([item[str(part)] for item in found]) for part in range(len(found[0])))


def _compute(
    extractor: Extractor, data: PreparedImages, numbers: range, options: TrainingOptions, device: torch.device
) -> Maps:
    (samples,) = data.batches(list(numbers), len(numbers))
    batch = data.preprocess.normalise(stack(samples).to(device)).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), mixed(device, options.precision):
        return tuple(part.cpu().half() for part in extractor.compute(batch))


def _write(place: Path, files: Sequence[Path], features: Maps) -> None:
    """Keep the features of a batch; without room for them training goes on."""
    with contextlib.suppress(OSError, SafetensorError):
        place.mkdir(parents=True, exist_ok=True)
        for number, file in enumerate(files):
            partial = file.with_name(f".{file.name}.{os.getpid()}-{threading.get_ident()}")
            save_file({str(part): features[part][number].contiguous() for part in range(len(features))}, partial)
            partial.replace(file)


def _key(extractor: Extractor, data: PreparedImages, options: TrainingOptions, device: torch.device) -> str:
    """A hash of all that determines the features beside the image."""
    described: Mapping[str, object] = {
        "what": extractor.what,
        "preprocess": data.preprocess.as_dict(),
        "precision": options.precision,
        "device": device.type,
    }
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name, value in extractor.network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:24]
