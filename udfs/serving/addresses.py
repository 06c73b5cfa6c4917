"""Parse HOST:PORT from the command line."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from models_py.errors import DuckspectError


@dataclass(frozen=True, slots=True)
class Address:
    """The host and port on which a server listens."""

    host: str
    port: int

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def address_of(text: str, what: str) -> Address:
    """Read `HOST:PORT`, `[::1]:PORT` or `:PORT`, which is on this machine only."""
    host, colon, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not colon or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise DuckspectError(f"{what}: must be HOST:PORT, as in 127.0.0.1:8480, but is {text!r}.")
    return Address(host, int(port))
