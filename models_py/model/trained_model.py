"""A trained model of any task: the four steps from a decoded image to a verdict, the same in training and serving."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import nn

from models_py.model.prediction import Array as Array
from models_py.model.prediction import Prediction as Prediction
from models_py.model.prediction import Region as Region
from models_py.model.preprocess import Size
from models_py.model.spec import ModelSpec as ModelSpec
from models_py.model.tiles import TILES_AT_ONCE, PlacedPrediction, merge_tiles
from models_py.model.verdict import GOOD

Outputs = tuple[torch.Tensor, ...]


class Model(ABC):
    """A network, its spec, and how to read its outputs."""

    task: ClassVar[str]
    stand_in: Callable[[torch.Tensor], torch.Tensor] | None = None
    """What does the work of `compute` in its place."""

    def __init__(self, spec: ModelSpec, network: nn.Module) -> None:
        self.spec = spec
        self.network = network.eval()

    @property
    def labels(self) -> tuple[str, ...]:
        return self.spec.labels

    @property
    def device(self) -> torch.device:
        tensor = next(iter(self.network.state_dict().values()), None)
        return torch.device("cpu") if tensor is None else tensor.device

    def prepare(self, image: torch.Tensor, reference: torch.Tensor | None = None) -> torch.Tensor:
        """Turn a decoded uint8 image (3, height, width) into the uint8 square the network takes; thread-safe.

        Raises ImageError if the model needs the image's reference and there is none.
        """
        return self.spec.preprocess(image, reference)

    def forward(self, batch: torch.Tensor) -> Outputs:
        """Run prepared images (n, 3, size, size) on the network's device; outputs are float32, one row an image.

        The row of an image for which the network gave NaN or infinity is NaN: a detector's boxes would be dropped for
        it, and the image be clean.
        """
        computed = (self.stand_in or self.compute)(batch)
        outputs = self.finish(computed)
        are_numbers = computed.flatten(1).sum(1).isfinite()
        if bool(are_numbers.all()):
            return outputs
        return tuple(torch.where(are_numbers.view(-1, *[1] * (part.ndim - 1)), part, torch.nan) for part in outputs)

    def compute(self, batch: torch.Tensor) -> torch.Tensor:
        """The part of `forward` that other runtimes can do as well: normalisation and network."""
        inputs = self.spec.preprocess.normalise(batch).contiguous(memory_format=torch.channels_last)
        found: torch.Tensor = self.network(inputs).float()
        return found

    def finish(self, computed: torch.Tensor) -> Outputs:
        """The part of `forward` that stays with torch."""
        return (computed,)

    @abstractmethod
    def interpret(self, outputs: Outputs, sizes: Sequence[Size], *, pixels: bool = False) -> list[Prediction]:
        """Read the outputs of a batch; `sizes` are those of the images as decoded. `pixels` asks for pixel maps too."""

    def embed(self, batch: torch.Tensor) -> torch.Tensor:
        """Describe prepared images by vectors (n, d) whose cosine similarity is how alike they look."""
        raise NotImplementedError(f"{self.spec.architecture} gives no embeddings")

    def predict(
        self,
        images: Sequence[torch.Tensor],
        references: Sequence[torch.Tensor | None] | None = None,
        *,
        pixels: bool = False,
    ) -> list[Prediction]:
        """Judge decoded images, each beside its reference if there are any, in one batch."""
        if not images:
            return []
        pairs = list(zip(images, references or [None] * len(images), strict=True))
        if self.spec.preprocess.tile:
            return [self.judge_tiles(image, reference, pixels=pixels) for image, reference in pairs]
        batch = torch.stack([self.prepare(image, reference) for image, reference in pairs]).to(self.device)
        with torch.inference_mode():
            outputs = self.forward(batch)
        return self.interpret(outputs, [(image.shape[1], image.shape[2]) for image in images], pixels=pixels)

    def judge_tiles(
        self, image: torch.Tensor, reference: torch.Tensor | None = None, *, pixels: bool = False
    ) -> Prediction:
        """Judge a decoded image by its tiles, a few at a time."""
        side = self.spec.preprocess.size
        found: list[PlacedPrediction] = []
        for places, batch in self.spec.preprocess.tiles(image, reference, TILES_AT_ONCE):
            with torch.inference_mode():
                outputs = self.forward(batch.to(self.device))
            judged = self.interpret(outputs, [(side, side)] * len(places), pixels=pixels)
            found += [PlacedPrediction(place, each) for place, each in zip(places, judged, strict=True)]
        return merge_tiles(self.spec, found, (image.shape[1], image.shape[2]), pixels=pixels)

    def state(self) -> dict[str, torch.Tensor]:
        """The tensors that, with the spec, are the model."""
        return dict(self.network.state_dict())


def defect_score(probabilities: Mapping[str, float]) -> float:
    """How likely a defect is by the probabilities of classes; without a class `good`, that of the likeliest."""
    return 1 - probabilities[GOOD] if GOOD in probabilities else max(probabilities.values())


def ranked(probabilities: Mapping[str, float]) -> list[tuple[str, float]]:
    """Classes with their probabilities, the likeliest first."""
    return sorted(probabilities.items(), key=lambda item: -item[1])
