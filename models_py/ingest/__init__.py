"""Ingestion: load a folder, archive, manifest or URL in any known layout into the `raw` tables."""

from models_py.ingest.archive import is_archive, unpacked
from models_py.ingest.contradictions import Contradiction
from models_py.ingest.load import ingest, open_tree
from models_py.ingest.new_rows import RowCounts
from models_py.ingest.options import IngestOptions, IngestReport
from models_py.ingest.relocate import FolderMove, Relocation, relocate
from models_py.ingest.watch import watch

__all__ = [
    "Contradiction",
    "FolderMove",
    "IngestOptions",
    "IngestReport",
    "Relocation",
    "RowCounts",
    "ingest",
    "is_archive",
    "open_tree",
    "relocate",
    "unpacked",
    "watch",
]
