"""What stands between a SQL function and a network: images, caches, batches, devices. Imported at the first call."""

from udfs.runtime._answers import Answer, Outcome
from udfs.runtime._calls import Query
from udfs.runtime._direct import Direct, Told
from udfs.runtime._engine import Engine
from udfs.runtime._images import Decoded, Source
from udfs.runtime._kinds import EMBED, MAP, PREDICT
from udfs.runtime._models import Served
from udfs.runtime._runtime import Asked, Runtime

__all__ = [
    "EMBED",
    "MAP",
    "PREDICT",
    "Answer",
    "Asked",
    "Decoded",
    "Direct",
    "Engine",
    "Outcome",
    "Query",
    "Runtime",
    "Served",
    "Source",
    "Told",
]
