"""Waiting for a state, with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

POLL_SECONDS = 0.02


def wait_for(condition: Callable[[], bool], seconds: float = 30.0, what: str = "the state") -> None:
    """Return as soon as `condition()` holds; fail the test when the time is over."""
    deadline = time.monotonic() + seconds
    # Looking again without a pause would take the processor from those who bring the state about.
    pause = threading.Event()
    while not condition():
        if time.monotonic() >= deadline:
            message = f"{what} was not reached within {seconds:.0f} s"
            raise TimeoutError(message)
        pause.wait(POLL_SECONDS)
