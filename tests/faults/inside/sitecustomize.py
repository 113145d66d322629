"""Imported by Python itself when a service of the tests starts: lets a test disturb the service from within."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime, timedelta

CLOCK = "STEPWIRE_FAULTS_CLOCK_SECONDS"
# Longer than the session of a member of a group.
BLOCKED_SECONDS = 8.0


def block(*_: object) -> None:
    """Hold up the main thread, and with it the loop that serves Kafka; other threads go on."""
    time.sleep(BLOCKED_SECONDS)


def set_clock(seconds: float) -> None:
    """Let this process believe that it is earlier or later."""
    import time_machine  # noqa: PLC0415 - only for the service whose clock is wrong

    time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds), tick=True).start()


signal.signal(signal.SIGUSR1, block)
if os.environ.get(CLOCK):
    set_clock(float(os.environ[CLOCK]))
