"""What a remote client's SQL may do, found by parsing it: a SELECT by DuckDB's own parser, the rest by sqlglot.

What is allowed is listed, not what is forbidden: relations of this warehouse, functions that only compute.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import duckdb
from sqlglot import exp, tokenize
from sqlglot.tokenizer_core import Token as Word
from sqlglot.tokenizer_core import TokenType

from udfs.functions.catalogue import FUNCTIONS
from udfs.serving.query_costs import QueryCosts, check_call
from udfs.serving.writes import RefusedError, check_changes, parse_write

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
"""A name that DuckDB can take for no file: it looks for a suffix or a slash."""
_LONGEST = 1 << 20

_TABLES_OF_VALUES = {"generate_series", "generate_subscripts", "json_each", "json_tree", "range", "repeat", "unnest"}
_TABLES_OF_CATALOGUE = {
    "duckdb_columns",
    "duckdb_constraints",
    "duckdb_schemas",
    "duckdb_tables",
    "duckdb_types",
    "duckdb_views",
    "pragma_table_info",
    "pragma_version",
}
_SCHEMAS_OF_CATALOGUE = {"information_schema", "pg_catalog"}
_TELLING = {"pg_prepared_statements", "pg_settings"}
"""Views of `pg_catalog` that tell folders, settings and what others ask."""
_PLACES = "warehouse_location"
"""The table that tells the server's folder."""
_NOT_ONLY_COMPUTING = {
    "current_setting",
    "currval",
    "getenv",
    "getvariable",
    "in_search_path",
    "json_serialize_plan",
    "nextval",
    "parse_duckdb_log_message",
    "pg_sleep",
    "setseed",
    "sleep_ms",
    "write_log",
}
_SHOWN = {'"databases"', '"tables"', "__show_tables_expanded", '"schemas"'}
_FROM = {"BASE_TABLE", "EMPTY", "EXPRESSION_LIST", "JOIN", "PIVOT", "SHOW_REF", "SUBQUERY", "TABLE_FUNCTION"}


class SqlGuard:
    """Checks SQL for one warehouse."""

    def __init__(
        self,
        cursor: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]],
        most_rows: Mapping[str, float] | None = None,
    ) -> None:
        self._cursor = cursor
        self._costs = QueryCosts(cursor, most_rows or {})
        self._lock = threading.Lock()
        self._parser = duckdb.connect()
        known = self._parser.execute(
            "select distinct function_name, function_type in ('table', 'table_macro', 'pragma') from duckdb_functions()"
        ).fetchall()
        computing = {name.lower() for name, is_table in known if not is_table}
        ours = {function.name for function in FUNCTIONS if not function.is_table}
        self._functions = (computing | ours) - _NOT_ONLY_COMPUTING
        self._known_functions = {name.lower() for name, _ in known} | _NOT_ONLY_COMPUTING
        internal = self._parser.execute("select view_name from duckdb_views() where internal").fetchall()
        self._internal = {name.lower() for (name,) in internal}
        self._relations: frozenset[tuple[str, str]] = frozenset()
        self._database = ""
        self._learn()

    def check(self, sql: str, role: str) -> None:
        """Raise RefusedError with the reason, or return."""
        if len(sql) > _LONGEST:
            raise RefusedError(f"a statement of {len(sql):,} characters is longer than {_LONGEST:,}")
        if role == "admin":
            return
        tree = self._selected(sql)
        if tree is not None:
            self._check_select(tree)
        elif role == "reader":
            raise RefusedError("a reader may only SELECT, one statement at a time")
        else:
            self._check_write(sql)
        self._costs.check(sql, role)

    def _selected(self, sql: str) -> Any:
        """The tree of one SELECT as DuckDB reads it; nothing of anything else."""
        with self._lock:
            row = self._parser.execute("select json_serialize_sql($1)", [sql]).fetchone()
        found = json.loads(row[0]) if row else {"error": True}
        if found["error"] and found.get("error_type") == "parser":
            raise RefusedError(f"it cannot be parsed: {found.get('error_message')}")
        if found["error"] or len(found["statements"]) != 1:
            return None
        return found["statements"][0]

    def _check_select(self, tree: Any) -> None:
        named: set[str] = set()
        nodes = list(_nodes(tree))
        for node in nodes:
            for entry in (node.get("cte_map") or {}).get("map") or ():
                named.add(self._named(entry["key"]))
        tabular = {id(node["function"]) for node in nodes if node.get("type") == "TABLE_FUNCTION"}
        for node in nodes:
            if node.get("class") == "FUNCTION":
                self._check_function(str(node["function_name"]), is_table=id(node) in tabular)
                if id(node) not in tabular:
                    check_call(str(node["function_name"]).lower(), node["children"])
            elif node.get("type") == "BASE_TABLE":
                self._check_relation(node["catalog_name"], node["schema_name"], node["table_name"], named)
            elif node.get("type") == "SHOW_REF" and node.get("query") is None and node["table_name"] not in _SHOWN:
                raise RefusedError(f"{node['table_name']} cannot be shown; describe a table or view by its name")
            elif "sample" in node and "alias" in node and node.get("type") not in _FROM and "class" not in node:
                raise RefusedError(f"FROM with {node.get('type')} is not allowed")

    def _check_write(self, sql: str) -> None:
        statement = parse_write(sql)
        for table in statement.find_all(exp.Table):
            for part in table.parts:
                if not isinstance(part, exp.Func):
                    self._check_plain(part.name)
        for call in statement.find_all(exp.Anonymous):
            self._check_function(call.name, is_table=isinstance(call.parent, exp.Table))
        self._check_words(tokenize(sql, dialect="duckdb"))
        named = {self._named(each.alias) for each in statement.find_all(exp.CTE)}
        for table in check_changes(sql, statement, self._database):
            if not isinstance(table.this, exp.Func):
                self._check_relation(table.catalog, table.db, table.name, named)

    def _named(self, name: str) -> str:
        """The name of a WITH, which must not make a view of DuckDB's own pass for it elsewhere in the query."""
        self._check_plain(name)
        if name.lower() in self._internal:
            raise RefusedError(f"with {name}: is the name of a view of DuckDB's; choose another")
        return name.lower()

    def _check_words(self, words: list[Word]) -> None:
        """No name that could be a file, no function beyond those allowed, however it is written."""
        for word, following in zip(words, [*words[1:], None], strict=True):
            if word.token_type == TokenType.IDENTIFIER:
                self._check_plain(word.text)
            name = word.text.lower()
            is_called = following is not None and following.token_type == TokenType.L_PAREN
            if is_called and name in self._known_functions - self._functions - _TABLES_OF_VALUES:
                raise RefusedError(f"{name}() is not allowed")

    def _check_plain(self, name: str) -> None:
        if not _PLAIN.fullmatch(name):
            raise RefusedError(f"{name!r}: only plain names are allowed, for this one could be a file")

    def _check_function(self, name: str, *, is_table: bool) -> None:
        name = name.lower()
        if is_table:
            if name not in _TABLES_OF_VALUES | _TABLES_OF_CATALOGUE:
                raise RefusedError(f"{name}() is not among the table functions that may be read")
        elif name not in self._functions and not self._is_macro(name):
            raise RefusedError(f"{name}() is not allowed")

    def _is_macro(self, name: str) -> bool:
        """A macro that somebody who may has made in this warehouse."""
        with self._cursor() as con:
            found = con.execute(
                "select 1 from duckdb_functions() where function_name = $1 and function_type = 'macro' "
                "and not internal and database_name = current_database()",
                [name],
            ).fetchone()
        return found is not None and name not in _NOT_ONLY_COMPUTING

    def _check_relation(self, catalogue: str, schema: str, table: str, named: set[str]) -> None:
        if not catalogue and not schema and table.lower() in named:
            return
        if table.lower() == _PLACES:
            raise RefusedError(f"{table} tells a folder of the server, which is for admins")
        is_here = catalogue.lower() in ("", self._database)
        if is_here and schema.lower() in _SCHEMAS_OF_CATALOGUE and _PLAIN.fullmatch(table):
            if table.lower() in _TELLING:
                raise RefusedError(f"{schema}.{table} tells settings of the server, which are for admins")
            return
        if not self._is_known(catalogue, schema, table):
            self._learn()
            if not self._is_known(catalogue, schema, table):
                whole = ".".join(part for part in (catalogue, schema, table) if part)
                raise RefusedError(f"{whole!r} is no table or view of this warehouse")

    def _is_known(self, catalogue: str, schema: str, table: str) -> bool:
        if catalogue and catalogue.lower() != self._database:
            return not schema and (catalogue.lower(), table.lower()) in self._relations
        return (schema.lower(), table.lower()) in self._relations

    def _learn(self) -> None:
        """Look at the catalogue again: a build may have made a table since."""
        with self._cursor() as con:
            rows = con.execute(
                "select lower(schema_name), lower(table_name) from duckdb_tables() "
                "where database_name = current_database() and not internal union all "
                "select lower(schema_name), lower(view_name) from duckdb_views() "
                "where database_name = current_database() and not internal"
            ).fetchall()
            name = con.execute("select lower(current_database())").fetchone()
        in_main = {("", table) for schema, table in rows if schema == "main"}
        self._relations = frozenset({(schema, table) for schema, table in rows} | in_main)
        self._database = name[0] if name else ""


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a tree of JSON."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
