"""Count a resource that all clients share, with a limit for all and one for each client."""

from __future__ import annotations

import math
from collections import Counter


class ClientShares:
    """A number of places or bytes for all clients together, of which one client gets a share at most."""

    def __init__(self, most: int, share: float, least: int = 1) -> None:
        self.most = max(most, least)
        self.most_of_one = max(math.ceil(self.most * share), least)
        self.used = 0
        self._used_by: Counter[str] = Counter()

    def has_room(self, client: str, count: int = 1) -> bool:
        """Whether a client may have so many more."""
        return self.used + count <= self.most and self._used_by[client] + count <= self.most_of_one

    def used_by(self, client: str) -> int:
        return self._used_by[client]

    def take(self, client: str, count: int = 1) -> None:
        """Count what a client takes; ask `has_room` first."""
        self.used += count
        self._used_by[client] += count

    def give_back(self, client: str, count: int = 1) -> None:
        self.used -= count
        self._used_by[client] -= count
        if not self._used_by[client]:
            del self._used_by[client]
