"""The rows a model is trained or judged on: asked for in SQL, checked, split without leaks, and frozen by hash."""

from models_py.snapshot._freeze import freeze
from models_py.snapshot._locate import locate
from models_py.snapshot._rows import Example, Snapshot, read_parquet, write_parquet

__all__ = ["Example", "Snapshot", "freeze", "locate", "read_parquet", "write_parquet"]
