"""The ways to print a result. Nothing heavy is imported here: help needs the names."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """`--format` of `duckspect sql` and `.mode` of the shell."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"
