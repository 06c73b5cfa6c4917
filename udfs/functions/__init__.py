"""The SQL functions: their one list, their types, their registration in DuckDB and Ibis. `runtime` computes."""
