"""What Ultralytics changes of the process that imports it or trains with it, set back.

Its import sets environment variables, the threads of OpenCV, how numpy and torch print, filters of warnings,
`torch.save` and Pillow's `Image.open`; a training seeds every generator and makes torch deterministic. What it reads of
the environment it reads on import, or in the processes that a training starts, so both run inside `borrowed_process`.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image


@contextmanager
def borrowed_process(environment: Mapping[str, str]) -> Iterator[None]:
    """Let Ultralytics have the process, with these variables; afterwards it is as it was before.

    Other threads see the variables, the filters of warnings and the generators meanwhile.
    """
    before = dict(os.environ)
    options: dict[str, Any] = {"numpy": np.get_printoptions(), "torch": asdict(torch._tensor_str.PRINT_OPTS)}
    save, open_image = torch.save, Image.open
    opencv, threads = cv2.getNumThreads(), torch.get_num_threads()
    generators = random.getstate(), np.random.get_state(), torch.get_rng_state()
    is_strict = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    cudnn, fills = torch.backends.cudnn.deterministic, memory.fill_uninitialized_memory
    os.environ.update(environment)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _set_environment(before)
        np.set_printoptions(**options["numpy"])
        torch.set_printoptions(**options["torch"])  # type: ignore[no-untyped-call]
        torch.save, Image.open = save, open_image
        cv2.setNumThreads(opencv)
        if torch.get_num_threads() != threads:  # a number that is set becomes that of all threads to come
            torch.set_num_threads(threads)
        random.setstate(generators[0])
        np.random.set_state(generators[1])
        torch.set_rng_state(generators[2])
        torch.use_deterministic_algorithms(is_strict[0], warn_only=is_strict[1])
        torch.backends.cudnn.deterministic = cudnn
        memory.fill_uninitialized_memory = fills


def _set_environment(wanted: Mapping[str, str]) -> None:
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
