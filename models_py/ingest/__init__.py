"""Ingestion: from files in any known layout to the `raw` tables."""

from models_py.ingest._archive import is_archive, unpacked
from models_py.ingest._contradictions import Contradiction
from models_py.ingest._load import Options, Report, ingest, open_tree
from models_py.ingest._relocate import Move, Relocation, relocate
from models_py.ingest._rows import Added
from models_py.ingest._watch import watch

__all__ = [
    "Added",
    "Contradiction",
    "Move",
    "Options",
    "Relocation",
    "Report",
    "ingest",
    "is_archive",
    "open_tree",
    "relocate",
    "unpacked",
    "watch",
]
