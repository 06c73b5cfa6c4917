"""Decide what a remote client's SQL may do, by parsing it.

What may be read is a list of what is allowed: tables and views of this warehouse, a few views of DuckDB's catalogue,
and table functions that read no files. All other functions of DuckDB are allowed but those that do more than compute:
they are in `_NOT_ONLY_COMPUTING`, which has to be checked for new functions whenever DuckDB is upgraded.

- A SELECT is parsed by DuckDB itself (`json_serialize_sql`), so that we check what DuckDB will run. The tree is
  searched for functions, relations and kinds of FROM.
- Statements that write have no such tree. A writer's are parsed by sqlglot, and what it does not understand is refused.
  Because sqlglot may read a name differently, all words of the text are checked too.

A relation must exist in the catalogue, because DuckDB takes any other name for a file: `from 'a.csv'` reads one. For
the same reason only plain names (letters, digits, _ and $) are allowed. A WITH may not have the name of one of DuckDB's
internal views, or a reference to that view elsewhere in the query would pass as a reference to the WITH.

What would take too long is refused by query_costs.py.
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
"""Names that cannot be a file for DuckDB, which looks for a suffix or a slash."""
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
_SETTINGS_VIEWS = {"pg_prepared_statements", "pg_settings"}
"""Views of `pg_catalog` that show folders, settings and other clients' statements."""
_LOCATION_TABLE = "warehouse_location"
"""The table with the server's folder."""
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
        self._read_catalogue()

    def check(self, sql: str, role: str) -> None:
        """Raise RefusedError with the reason, or return."""
        if len(sql) > _LONGEST:
            raise RefusedError(f"a statement of {len(sql):,} characters is longer than {_LONGEST:,}")
        if role == "admin":
            return
        tree = self._parse_select(sql)
        if tree is not None:
            self._check_select(tree)
        elif role == "reader":
            raise RefusedError("a reader may only SELECT, one statement at a time")
        else:
            self._check_write(sql)
        self._costs.check(sql, role)

    def _parse_select(self, sql: str) -> Any:
        """DuckDB's own tree of one SELECT; None for any other statement."""
        with self._lock:
            row = self._parser.execute("select json_serialize_sql($1)", [sql]).fetchone()
        parsed = json.loads(row[0]) if row else {"error": True}
        if parsed["error"] and parsed.get("error_type") == "parser":
            raise RefusedError(f"it cannot be parsed: {parsed.get('error_message')}")
        if parsed["error"] or len(parsed["statements"]) != 1:
            return None
        return parsed["statements"][0]

    def _check_select(self, tree: Any) -> None:
        with_names: set[str] = set()
        nodes = list(_nodes(tree))
        for node in nodes:
            for entry in (node.get("cte_map") or {}).get("map") or ():
                with_names.add(self._check_with_name(entry["key"]))
        tabular = {id(node["function"]) for node in nodes if node.get("type") == "TABLE_FUNCTION"}
        for node in nodes:
            if node.get("class") == "FUNCTION":
                self._check_function(str(node["function_name"]), is_table=id(node) in tabular)
                if id(node) not in tabular:
                    check_call(str(node["function_name"]).lower(), node["children"])
            elif node.get("type") == "BASE_TABLE":
                self._check_relation(node["catalog_name"], node["schema_name"], node["table_name"], with_names)
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
        with_names = {self._check_with_name(each.alias) for each in statement.find_all(exp.CTE)}
        for table in check_changes(sql, statement, self._database):
            if not isinstance(table.this, exp.Func):
                self._check_relation(table.catalog, table.db, table.name, with_names)

    def _check_with_name(self, name: str) -> str:
        """The name of a WITH in lower case; refused if it is the name of one of DuckDB's internal views."""
        self._check_plain(name)
        if name.lower() in self._internal:
            raise RefusedError(f"with {name}: is the name of a view of DuckDB's; choose another")
        return name.lower()

    def _check_words(self, words: list[Word]) -> None:
        """Refuse quoted names that could be a file, and calls of functions that are not allowed, in the text itself."""
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
        """Whether a function is a macro of this warehouse; only admins can make one."""
        with self._cursor() as con:
            row = con.execute(
                "select 1 from duckdb_functions() where function_name = $1 and function_type = 'macro' "
                "and not internal and database_name = current_database()",
                [name],
            ).fetchone()
        return row is not None and name not in _NOT_ONLY_COMPUTING

    def _check_relation(self, catalogue: str, schema: str, table: str, with_names: set[str]) -> None:
        if not catalogue and not schema and table.lower() in with_names:
            return
        if table.lower() == _LOCATION_TABLE:
            raise RefusedError(f"{table} tells a folder of the server, which is for admins")
        is_here = catalogue.lower() in ("", self._database)
        if is_here and schema.lower() in _SCHEMAS_OF_CATALOGUE and _PLAIN.fullmatch(table):
            if table.lower() in _SETTINGS_VIEWS:
                raise RefusedError(f"{schema}.{table} tells settings of the server, which are for admins")
            return
        if not self._is_known(catalogue, schema, table):
            self._read_catalogue()
            if not self._is_known(catalogue, schema, table):
                whole = ".".join(part for part in (catalogue, schema, table) if part)
                raise RefusedError(f"{whole!r} is no table or view of this warehouse")

    def _is_known(self, catalogue: str, schema: str, table: str) -> bool:
        if catalogue and catalogue.lower() != self._database:
            return not schema and (catalogue.lower(), table.lower()) in self._relations
        return (schema.lower(), table.lower()) in self._relations

    def _read_catalogue(self) -> None:
        """Read the names of all tables and views; again for an unknown name, since a build may have made it."""
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
    """Every JSON object in a tree."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
