"""Recognise a full disk in the errors of all libraries, so that users get one sentence wherever it happens.

The system's errors carry a number. DuckDB, safetensors and child processes pass on only text, which is searched.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models_py.errors import FullDiskError

_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REASONS = {os.strerror(number) for number in _NUMBERS}
_WORDS = re.compile(rf"(?:Could not write|[Ee]rrno|os error|I/O error).*?({'|'.join(map(re.escape, _REASONS))})", re.S)
_FILE = re.compile(r'Could not write (?:all data to )?file "([^"]+)"|Failed to create directory "([^"]+)"')


def full_disk(error: BaseException, folder: Path | None = None) -> FullDiskError | None:
    """The error to show a user if the cause is a full disk, a quota or a file-size limit; None for other causes."""
    for each in _chain(error):
        if isinstance(each, FullDiskError):
            return each
        if reason := _reason(each):
            return FullDiskError(folder or _folder_of(each), reason)
    return None


@contextmanager
def writing_in(folder: Path) -> Iterator[None]:
    """Turn an error inside the block that comes from a full disk into one that names the folder."""
    try:
        yield
    except Exception as error:
        if full := full_disk(error, folder.absolute()):
            raise full from error
        raise


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in _NUMBERS:
        return os.strerror(error.errno or 0)
    match = _WORDS.search(str(error))
    return match[1] if match else None


def _folder_of(error: BaseException) -> Path | None:
    name = error.filename2 or error.filename if isinstance(error, OSError) else None
    if isinstance(name, str | bytes):
        return Path(os.fsdecode(name)).absolute().parent
    match = _FILE.search(str(error))
    return Path(match[1] or match[2]).absolute().parent if match else None
