"""What somebody may have meant by a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, choices: Iterable[str]) -> str:
    """A question that names the choice most like a word, with a space before it; nothing where none is alike."""
    folded = {choice.casefold(): choice for choice in choices}
    found = get_close_matches(word.casefold(), folded, n=1)
    return f" Did you mean {folded[found[0]]!r}?" if found else ""
