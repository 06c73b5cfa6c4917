-- What clients of the server with the role writer make: nothing of duckspect or dbt is kept here or read from here.
create schema if not exists work;
