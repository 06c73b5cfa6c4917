"""Layouts of inspection data sets: one reader per file. The order of the imports is the order of auto-detection."""

from models_py.layouts._registry import Layout, layout_named, layouts, recognise, register
from models_py.layouts._samples import GOOD, Label, Reject, Sample, canonical
from models_py.layouts._stores import MISSING, FileStat, LocalStore, RemoteStore, normal_url, real_path
from models_py.layouts._tree import Tree

# isort: off
from models_py.layouts import manifest, deeppcb, mvtec, visa, lgp, magnetic_tile, yolo, coco, voc, folders, images
# isort: on

__all__ = [
    "GOOD",
    "MISSING",
    "FileStat",
    "Label",
    "Layout",
    "LocalStore",
    "Reject",
    "RemoteStore",
    "Sample",
    "Tree",
    "canonical",
    "coco",
    "deeppcb",
    "folders",
    "images",
    "layout_named",
    "layouts",
    "lgp",
    "magnetic_tile",
    "manifest",
    "mvtec",
    "normal_url",
    "real_path",
    "recognise",
    "register",
    "visa",
    "voc",
    "yolo",
]
