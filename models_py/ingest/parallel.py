"""Examine samples in worker threads, in their order, and gather the rows into batches."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from models_py.ingest.examine import ExaminationContext, examine
from models_py.ingest.new_rows import NewRows
from models_py.layouts import Sample, Tree

_CHUNK = 64
"""Samples that one worker examines at a time."""
_BATCH = 4096
"""Samples that are written in one transaction."""
_SMALL_FILE = 200_000
"""Bytes up to which one thread reads and hashes faster than several, which wait for each other at Python's lock."""


def examine_in_parallel(
    todo: Sequence[Sample], context: ExaminationContext, workers: int | None = None
) -> Iterator[tuple[int, NewRows]]:
    """Examine samples in workers; yield batches in order, with the number of samples covered so far.

    The samples stay in their order, because the first of two equal files gives the image its URI, and that must be the
    same file in every run. Only about one batch of finished chunks waits in memory.
    """
    done, batch = 0, NewRows()
    workers = _workers(context.layout.tree, todo, workers)
    chunks = (todo[start : start + _CHUNK] for start in range(0, len(todo), _CHUNK))
    with ThreadPoolExecutor(workers, "ingest") as executor:
        waiting: deque[Future[NewRows]] = deque()
        try:
            for chunk in chunks:
                waiting.append(executor.submit(examine, chunk, context))
                if len(waiting) >= 4 * workers + _BATCH // _CHUNK:
                    batch.add(waiting.popleft().result())
                if batch.samples >= _BATCH:
                    done += batch.samples
                    yield done, batch
                    batch = NewRows()
            while waiting:
                batch.add(waiting.popleft().result())
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
    if batch.samples:
        yield done + batch.samples, batch


def _workers(tree: Tree, todo: Sequence[Sample], chosen: int | None) -> int:
    if chosen is not None:
        return max(1, chosen)
    if "://" in tree.root:
        return 16  # these threads wait for the network, not for a core
    stats = [stat for sample in todo[:: max(1, len(todo) // 200)] if (stat := tree.stat(sample.image))]
    mean = sum(stat.size for stat in stats) / max(1, len(stats))
    return 1 if mean < _SMALL_FILE else max(2, os.cpu_count() or 2)
