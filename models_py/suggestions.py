"""Suggest a name that is similar to one that does not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, choices: Iterable[str]) -> str:
    """` Did you mean ...?` with the most similar choice, or an empty string if none is similar."""
    folded = {choice.casefold(): choice for choice in choices}
    found = get_close_matches(word.casefold(), folded, n=1)
    return f" Did you mean {folded[found[0]]!r}?" if found else ""
