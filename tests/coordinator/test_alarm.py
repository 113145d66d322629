"""The alarm of the sweeper, on the loops it may run on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from stepwire_coordinator.alarm import Alarm

PATIENCE_SECONDS = 30.0
MUCH_LATER = 3600.0

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
NewLoop = Callable[[], asyncio.AbstractEventLoop]


@LOOPS
def test_woken_twice_at_once(loop: NewLoop) -> None:
    """Two notifications that come together ring once, and whoever goes to sleep just then does not miss it."""

    async def play() -> None:
        alarm = Alarm()
        alarm.within(0.0)
        alarm.within(0.0)
        await asyncio.wait_for(alarm.wait(MUCH_LATER), PATIENCE_SECONDS)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(play())


@LOOPS
def test_the_earliest_wish_counts(loop: NewLoop) -> None:
    """Whoever wants it sooner wakes the sleeper, whoever wants it later does not put it off."""

    async def play() -> None:
        alarm = Alarm()
        sleeper = asyncio.create_task(alarm.wait(MUCH_LATER))
        await asyncio.sleep(0)
        alarm.within(0.01)
        alarm.within(MUCH_LATER)
        await asyncio.wait_for(sleeper, PATIENCE_SECONDS)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(play())
