"""The one list of SQL functions: registration, `duckspect functions`, the documents and the tests iterate it.

What a function does is in `sql/macros/NAME.sql`; what it is called, takes, gives and means is here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from models_py.warehouse.database import sql_folder
from udfs.functions import types


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument; `default` is SQL, and named as `name := value` in a call."""

    name: str
    type: str
    meaning: str
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Function:
    """One SQL function. `task` is the task its model must be of; `is_model` that it runs one."""

    name: str
    title: str
    arguments: tuple[Argument, ...]
    returns: str
    nulls: str
    example: str
    is_model: bool = True
    is_table: bool = False
    task: str | None = None

    @property
    def signature(self) -> str:
        """As a person would write it."""
        shown = (item.name if item.default is None else f"{item.name} := {item.default}" for item in self.arguments)
        return f"{self.name}({', '.join(shown)})"

    @property
    def file(self) -> Path:
        """Where its SQL is."""
        return sql_folder() / "macros" / f"{self.name}.sql"


_IMAGE = Argument(
    "image",
    "varchar or blob",
    "Path, URI or bytes of an image. A path such as a/b.png is below the warehouse's folder, ./a/b.png below the "
    "current one",
)
_PATTERN = Argument("pattern", "varchar", "Files, as in 'boards/*.jpg'; ** goes into folders")
_MODEL = Argument("model", "varchar", "'name' (its champion), 'name@alias' or 'name@3'")
_THRESHOLD = Argument("threshold", "double", "Least confidence; the model's operating point if left out", "null")
_REFERENCE = Argument(
    "reference",
    "varchar or blob",
    "The reference image (golden board) beside which the image is judged, by models that were trained so; if left out "
    "the one that raw.templates links to the image, else the golden board of the inspection's product at its time",
    "null",
)
_UNREADABLE = "NULL for a NULL or unreadable image; image_error(image) says why"

FUNCTIONS = (
    Function(
        "predict",
        "What a model of any task says of an image, whatever the threshold of its regions",
        (_IMAGE, _MODEL, _REFERENCE),
        types.PREDICTION,
        "NULL for a NULL image; for an unreadable one all but model, version, task and error are NULL",
        "select predict(uri, 'pcb@champion') from raw.images",
    ),
    Function(
        "classify",
        "The class of an image, and how likely each class is",
        (_IMAGE, _MODEL, _REFERENCE),
        types.CLASSIFICATION,
        _UNREADABLE,
        "select classify(uri, 'steel').label from raw.images",
        task="classify",
    ),
    Function(
        "detect",
        "The defects of an image as boxes in its pixels; an empty list is a clean image",
        (_IMAGE, _MODEL, _THRESHOLD, _REFERENCE),
        f"{types.DETECTION}[]",
        _UNREADABLE,
        "select uri, d.label from raw.images, unnest(detect(uri, 'pcb')) as t(d)",
        task="detect",
    ),
    Function(
        "segment",
        "The defects of an image as boxes with area and mask (PNG of the box); an empty list is a clean image",
        (_IMAGE, _MODEL, _THRESHOLD, _REFERENCE),
        f"{types.REGION}[]",
        _UNREADABLE,
        "select uri, r.label, r.area from raw.images, unnest(segment(uri, 'plate')) as t(r)",
        task="segment",
    ),
    Function(
        "anomaly",
        "How far an image is from the good ones a model learned, and whether that is too far",
        (_IMAGE, _MODEL, _THRESHOLD, _REFERENCE),
        types.ANOMALY,
        _UNREADABLE,
        "select uri from raw.images where anomaly(uri, 'tile').is_anomalous",
        task="anomaly",
    ),
    Function(
        "embed",
        "A vector of length 1 that describes an image: alike images have a high list_cosine_similarity",
        (_IMAGE, _MODEL, _REFERENCE),
        types.EMBEDDING,
        _UNREADABLE,
        "select list_cosine_similarity(embed('a.jpg', 'pcb'), embed('b.jpg', 'pcb'))",
    ),
    Function(
        "anomaly_map",
        "The image with the places that a model finds unusual in warm colours, as PNG",
        (_IMAGE, _MODEL, _REFERENCE),
        "blob",
        _UNREADABLE,
        "select anomaly_map(uri, 'tile') from raw.images limit 1",
        task="anomaly",
    ),
    Function(
        "compare",
        "What differs between an image and its reference image (golden board), without any model",
        (
            _IMAGE,
            Argument(
                "reference",
                "varchar or blob",
                "The reference image; if left out the one that raw.templates links to the image, else the golden board "
                "of the inspection's product at its time",
                "null",
            ),
            Argument(
                "alignment", "varchar", "How the reference is laid onto the image: none, shift or homography", "null"
            ),
        ),
        types.COMPARISON,
        "NULL for a NULL image; for an unreadable one, or without a reference, all but error are NULL. similarity is "
        "the share of pixels that do not differ; the alignment is a homography if left out",
        "select compare(uri).similarity from raw.images limit 1",
        is_model=False,
    ),
    Function(
        "image_info",
        "Size, format, hash, mean brightness (0 to 255) and sharpness (variance of the Laplacian) of an image",
        (_IMAGE,),
        types.INFO,
        _UNREADABLE,
        "select image_info(uri).sharpness from raw.images",
        is_model=False,
    ),
    Function(
        "image_error",
        "Why an image cannot be used; NULL if it can",
        (_IMAGE,),
        "varchar",
        "NULL for a NULL image",
        "select uri, image_error(uri) from raw.images where image_error(uri) is not null",
        is_model=False,
    ),
    Function(
        "draw",
        "The image with boxes, masks and labels drawn on it, as PNG",
        (_IMAGE, Argument("regions", f"{types.REGION}[]", "What detect, segment or predict found")),
        "blob",
        _UNREADABLE,
        "select draw(uri, detect(uri, 'pcb')) from raw.images limit 1",
        is_model=False,
    ),
    Function(
        "crop",
        "The part of an image inside a box, as PNG",
        (
            _IMAGE,
            Argument("region", types.DETECTION, "A box, or anything with x1, y1, x2 and y2"),
            Argument("margin", "double", "Pixels more on each side", "0"),
        ),
        "blob",
        f"{_UNREADABLE}; NULL for a NULL region, or one outside the image",
        "select crop(uri, d, margin := 16) from raw.images, unnest(detect(uri, 'pcb')) as t(d)",
        is_model=False,
    ),
    Function(
        "detections",
        "One row per defect that detect finds in files, and one per file that cannot be read",
        (_PATTERN, _MODEL, _THRESHOLD),
        f"uri varchar, {types.BOX}, error varchar",
        "label is NULL and error says why where a file cannot be read",
        "from detections('boards/*.jpg', 'pcb')",
        is_table=True,
        task="detect",
    ),
    Function(
        "classifications",
        "One row per file, with what classify says of it",
        (_PATTERN, _MODEL),
        "uri varchar, label varchar, confidence double, probabilities map(varchar, double), error varchar",
        "label is NULL and error says why where a file cannot be read",
        "from classifications('coils/*.bmp', 'steel')",
        is_table=True,
        task="classify",
    ),
    Function(
        "anomalies",
        "One row per file, with what anomaly says of it",
        (_PATTERN, _MODEL, _THRESHOLD),
        "uri varchar, score double, threshold double, is_anomalous boolean, error varchar",
        "score is NULL and error says why where a file cannot be read",
        "from anomalies('tiles/**/*.png', 'tile') order by score desc",
        is_table=True,
        task="anomaly",
    ),
    Function(
        "images",
        "One row per file, with what image_info says of it",
        (_PATTERN,),
        "uri varchar, width integer, height integer, channels integer, format varchar, sha256 varchar, "
        "brightness double, sharpness double, error varchar",
        "all but uri and error are NULL where a file cannot be read",
        "from images('boards/*.jpg') order by sharpness",
        is_model=False,
        is_table=True,
    ),
)


def find_function(name: str) -> Function | None:
    """The function of this name, in any case."""
    return next((item for item in FUNCTIONS if item.name == name.lower()), None)


def names_function(sql: str) -> bool:
    """Whether a text has the name of a function in it, at a glance."""
    return bool(_NAMES.search(sql))


_NAMES = re.compile(rf"\b({'|'.join(item.name for item in FUNCTIONS)})\s*\(", re.IGNORECASE)
