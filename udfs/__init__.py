"""The SQL side: sessions, SQL functions, servers, builds and the command line, over what `models_py` makes."""

from udfs.session.interrupts import cursor, interrupt
from udfs.session.session import connect

__all__ = ["connect", "cursor", "interrupt"]
