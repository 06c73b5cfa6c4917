"""`connect()`: an ordinary DuckDB connection with the SQL functions, and the stop of what it runs."""
