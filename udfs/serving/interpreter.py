"""How a server's threads share Python: a module of its own, since it is a setting of the whole process.

Loading a model is seconds of Python in one thread, while a request changes threads ten times. Whoever waits for the
interpreter gets it after the switch interval: with Python's own of 5 ms ten waits make 50. And making a network is
thousands of objects, which sets off collections of garbage that look at all that was ever imported, half a million
objects, and hold the interpreter for half a second. What is there at the start is there until the end, so none need
look at it again.
"""

from __future__ import annotations

import gc
import sys

_SWITCH_EVERY = 0.0005


def share_fairly() -> None:
    """Let no thread wait long for another's Python; call it once all is imported and loaded."""
    sys.setswitchinterval(_SWITCH_EVERY)
    gc.collect()
    gc.freeze()
