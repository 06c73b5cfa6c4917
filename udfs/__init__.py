"""The counter: sessions, SQL functions, servers and the command line, over what `models_py` makes."""

from udfs.session import connect

__all__ = ["connect"]
