"""Ingestion: from files in any known layout to the `raw` tables."""

from models_py.ingest.archive import is_archive, unpacked
from models_py.ingest.contradictions import Contradiction
from models_py.ingest.load import IngestOptions, IngestReport, ingest, open_tree
from models_py.ingest.new_rows import RowCounts
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
