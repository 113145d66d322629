"""Failpoints: what may be written, and what happens when a place is reached."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from stepwire.chassis.errors import SettingsError
from stepwire.chassis.failpoints import NO_FAILPOINTS, Failpoints

KILLED = """
from stepwire.chassis.failpoints import Failpoints
points = Failpoints.parse("executor.claimed=kill@3", testing=True)
for number in range(5):
    print(number, flush=True)
    points.hit("executor.claimed")
"""


def test_failpoints_are_for_tests_only() -> None:
    """Outside of testing they are refused, and none costs nothing."""
    with pytest.raises(SettingsError, match="STEPWIRE_TESTING=1"):
        Failpoints.parse("executor.claimed=kill", testing=False)
    assert not Failpoints.parse("", testing=False).enabled("unsafe.no_fence")


@pytest.mark.parametrize(
    "spec", ["nonsense=kill", "executor.claimed=explode", "executor.claimed=kill@soon", "executor.claimed"]
)
def test_what_cannot_be_read_is_refused(spec: str) -> None:
    """A mistyped failpoint would let a test pass that tests nothing."""
    with pytest.raises(SettingsError, match="STEPWIRE_FAILPOINTS"):
        Failpoints.parse(spec, testing=True)


def test_switches_are_on_or_absent() -> None:
    """A switch is written as a bare name, beside others."""
    points = Failpoints.parse("unsafe.no_fence, executor.claimed=pause@9", testing=True)
    assert points.enabled("unsafe.no_fence")
    assert not points.enabled("unsafe.no_outcomes")
    assert not NO_FAILPOINTS.enabled("unsafe.no_fence")


async def test_a_pause_stops_its_coroutine_alone() -> None:
    """Others go on, the paused one can be cancelled, and only the counted time pauses."""
    points = Failpoints.parse("executor.before_step=pause@2", testing=True)
    await points.hit_async("executor.before_step")
    paused = asyncio.create_task(points.hit_async("executor.before_step"))
    # Its turn comes first: from Python 3.12 on wait_for() begins at once.
    await asyncio.sleep(0)
    await asyncio.wait_for(points.hit_async("executor.before_step"), 5)
    assert not paused.done()
    paused.cancel()
    await asyncio.wait([paused])


def test_a_kill_says_its_name_first() -> None:
    """The third time is the last: the line is written although nothing is flushed any more."""
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == -9
    assert done.stdout.split() == ["0", "1", "2"]
    assert "failpoint=executor.claimed" in done.stderr
