"""`python -m udfs.cli` is `duckspect`."""

from udfs.cli import main

main()
