"""The SQL macros of `sql/macros`, kept in the warehouse with their descriptions, so that every connection has them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from models_py import __version__
from models_py.warehouse.database import transaction
from udfs.functions.catalogue import FUNCTIONS, Function

if TYPE_CHECKING:
    import duckdb

_LEDGER_NUMBER = 0
_CREATE = "create or replace macro "
_IDENTITY_CALL = "query_identity(image)"
_IDENTITY = """list_transform(
    [image is null],
    lambda n: struct_pack(connection := current_connection_id(), transaction := txid_current())
)[1]"""
"""What stands in a macro where its file says `query_identity(image)`: it tells a query from others, so that one version
answers all of it.

Bare, the two functions would give every call side effects, and DuckDB would evaluate it anew for each alias, or refuse
to. Asking whether the image is null ties them to the row, but neither binds the image to a type before that is known
nor copies its bytes. A macro of its own would do the same, but DuckDB looks a macro's names up where its caller is:
from another attached database, `plant.main.detect(...)` would not find it.
"""


def statements(*, temporary: bool = False) -> Iterator[str]:
    """SQL that makes every macro and describes it."""
    for function in FUNCTIONS:
        text = function.file.read_text().replace(_IDENTITY_CALL, _IDENTITY)
        if not text.startswith(f"{_CREATE}{function.name}("):
            raise ValueError(f"{function.file}: must begin with {_CREATE}{function.name}(")
        yield text.replace(_CREATE, "create or replace temp macro ", 1) if temporary else text
        yield f"comment on macro {'table ' if function.is_table else ''}{function.name} is '{_comment(function)}'"


def _comment(function: Function) -> str:
    return f"{function.title}. {function.nulls}.".replace("'", "''")


def install(con: duckdb.DuckDBPyConnection, *, read_only: bool = False) -> None:
    """Write the macros into a warehouse that has others; in one opened read-only, this connection alone gets them."""
    made = list(statements())
    digest = hashlib.sha256("\n".join(made).encode()).hexdigest()
    # Without a parameter: DuckDB imports pandas, a quarter of a second, to look at a parameter's type.
    known = con.execute(f"select sha256 from schema_migrations where version = {_LEDGER_NUMBER}").fetchone()
    if known == (digest,):
        return
    if read_only:
        for statement in statements(temporary=True):
            con.execute(statement)
        return
    with transaction(con):
        for statement in made:
            con.execute(statement)
        con.execute(
            "insert or replace into schema_migrations values (?, 'macros', ?, now(), ?)",
            [_LEDGER_NUMBER, digest, __version__],
        )
