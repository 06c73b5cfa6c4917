"""How tests wait: for what they mean, however slow the machine is at the moment."""

import time

PATIENCE = 600.0
"""Seconds until a test gives up: only what hangs takes as long, also where ten others want the same core."""


def wait_for(condition, said=lambda: ""):
    """Ask until the answer is true, and return it; `said` adds to the failure what is known of the other side."""
    until = time.monotonic() + PATIENCE
    while not (answer := condition()):
        assert time.monotonic() < until, f"still not true after {PATIENCE:g} s. {said()}"
        time.sleep(0.02)
    return answer
