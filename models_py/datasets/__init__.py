"""Data sets for training and evaluation: the rows of a SQL query, checked, split without leaks, and frozen by hash."""

from models_py.datasets.freeze import freeze
from models_py.datasets.locate import locate
from models_py.datasets.rows import DatasetRow, FrozenDataset, read_parquet, write_parquet

__all__ = ["DatasetRow", "FrozenDataset", "freeze", "locate", "read_parquet", "write_parquet"]
