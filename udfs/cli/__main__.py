"""`python -m udfs.cli` is `duckspect`."""

from udfs.cli import main

if __name__ == "__main__":  # worker processes import this module
    main()
