"""Tokens and roles of clients, in a file with only the tokens' hashes that is read again whenever it changes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from models_py.errors import DuckspectError
from models_py.files.durable import replacing
from models_py.warehouse.database import warehouse_path

VARIABLE = "DUCKSPECT_TOKENS"
ROLES = ("reader", "writer", "admin")
"""Each role may do everything that those before it may."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class TokenError(DuckspectError):
    """The file of tokens is missing or damaged, or a token cannot be made."""


@dataclass(frozen=True, slots=True)
class Token:
    """One client; of its token only the hash is stored."""

    name: str
    role: str
    sha256: str
    created_at: str

    def may(self, role: str) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


def tokens_path(path: str | Path | None = None, warehouse: str | Path | None = None) -> Path:
    """The argument, else `DUCKSPECT_TOKENS`, else `warehouse.tokens.json` beside the warehouse."""
    given = path or os.environ.get(VARIABLE)
    if given:
        return Path(given).expanduser().absolute()
    file = warehouse_path(warehouse)
    return file.with_name(f"{file.stem}.tokens.json")


def read_tokens(file: Path) -> list[Token]:
    """All tokens in a file; an empty list if it does not exist."""
    try:
        rows = json.loads(file.read_text())["tokens"]
        found = [Token(**row) for row in rows]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TokenError(f"{file}: cannot be read as a file of tokens: {error!r}. Restore it, or delete it.") from error
    odd = next((token for token in found if token.role not in ROLES), None)
    if odd:
        raise TokenError(f"{file}: {odd.name} has the role {odd.role!r}; roles are {', '.join(ROLES)}.")
    return found


def add_token(file: Path, name: str, role: str) -> str:
    """Make a token, store its hash, and return it; it cannot be read again later."""
    if not _NAME.fullmatch(name):
        raise TokenError(f"name: must be letters, digits, '.', '_' or '-', 64 at most, but is {name!r}.")
    if role not in ROLES:
        raise TokenError(f"role: must be {', '.join(ROLES)}, but is {role!r}.")
    known = read_tokens(file)
    if any(token.name == name for token in known):
        raise TokenError(f"{name} has a token already. Take it away first: `duckspect tokens remove {name}`.")
    made = f"dsk_{secrets.token_urlsafe(32)}"
    _write(file, [*known, Token(name, role, _hash(made), datetime.now(UTC).isoformat(timespec="seconds"))])
    return made


def remove_token(file: Path, name: str) -> None:
    """Remove a token; a server refuses it from the next request on."""
    known = read_tokens(file)
    if all(token.name != name for token in known):
        names = ", ".join(token.name for token in known) or "none"
        raise TokenError(f"{file}: there is no token of {name!r}. Names: {names}.")
    _write(file, [token for token in known if token.name != name])


def _write(file: Path, tokens: Sequence[Token]) -> None:
    try:
        with replacing(file) as partial:
            partial.touch(0o600)
            partial.write_text(json.dumps({"tokens": [asdict(token) for token in tokens]}, indent=2))
    except OSError as error:
        raise TokenError(f"{file}: cannot be written: {error.strerror}.") from error


def _hash(token: str) -> str:
    """Hash a token. Tokens are 256 random bits, so a plain SHA-256 cannot be reversed by guessing."""
    return hashlib.sha256(token.encode()).hexdigest()


class TokenFile:
    """The current tokens of a file, which is read again when it changes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._by_hash: dict[str, Token] = {}

    def find(self, token: str) -> Token | None:
        """The client of a token, or None. Looked up by hash, so that the time taken gives nothing away."""
        return self.now().get(_hash(token))

    def holds(self, token: Token) -> bool:
        """Whether a client that was admitted still has its token and role."""
        return self.now().get(token.sha256) == token

    def now(self) -> dict[str, Token]:
        """All tokens by hash; if the file is missing or damaged, none."""
        try:
            found = self._file.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            return {}
        with self._lock:
            if stamp != self._stamp:
                try:
                    self._by_hash = {token.sha256: token for token in read_tokens(self._file)}
                except TokenError:
                    self._by_hash = {}
                self._stamp = stamp
            return self._by_hash
