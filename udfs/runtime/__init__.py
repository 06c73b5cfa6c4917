"""What stands between a SQL function and a network: images, caches, batches, devices. Imported at the first call."""

from udfs.runtime.batcher import Batcher
from udfs.runtime.calls import Query
from udfs.runtime.image_reader import DecodedImage, ImageSource
from udfs.runtime.model_resolver import LoadedModel
from udfs.runtime.output_kinds import EMBED, MAP, PREDICT, OutputKind
from udfs.runtime.results import PredictionResult, StoredPrediction
from udfs.runtime.runtime import Maker, PredictionRequest, Runtime
from udfs.runtime.single_images import SingleImages, SingleResult, UnusableImage

__all__ = [
    "EMBED",
    "MAP",
    "PREDICT",
    "Batcher",
    "DecodedImage",
    "ImageSource",
    "LoadedModel",
    "Maker",
    "OutputKind",
    "PredictionRequest",
    "PredictionResult",
    "Query",
    "Runtime",
    "SingleImages",
    "SingleResult",
    "StoredPrediction",
    "UnusableImage",
]
