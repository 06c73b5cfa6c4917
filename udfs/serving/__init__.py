"""One warehouse, many clients: HTTP and Quack over one session. Needs the extra `serve`."""

from udfs.addresses import Address, address_of
from udfs.serving._front import Limits
from udfs.serving._serve import Options, SqlLimits, serve

__all__ = ["Address", "Limits", "Options", "SqlLimits", "address_of", "serve"]
