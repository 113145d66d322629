"""Polls that a rebalance holds up."""

from __future__ import annotations

import asyncio
from typing import Any

from stepwire.chassis.logging import get_logger
from stepwire.chassis.metrics import Metrics
from stepwire_executor.dead_letters import DeadLetters
from stepwire_executor.polling import Poller


class HeldUpConsumer:
    """A consumer in a group whose rebalance does not end before the test says so."""

    def __init__(self) -> None:
        self.rebalanced = asyncio.Event()
        self.polls = 0

    async def start(self) -> None:
        """Connect."""

    async def stop(self) -> None:
        """Leave."""

    def subscribe(self, **_: Any) -> None:
        """Begin to join."""

    def assignment(self) -> set[Any]:
        """Nothing is assigned."""
        return set()

    def paused(self) -> set[Any]:
        """Nothing is paused."""
        return set()

    def pause(self, *_: Any) -> None:
        """Pause nothing."""

    def resume(self, *_: Any) -> None:
        """Resume nothing."""

    async def getmany(self, **_: Any) -> dict[Any, Any]:
        """Wait for the rebalance, whatever the timeout."""
        self.polls += 1
        await self.rebalanced.wait()
        return {}


def poller_of(consumer: HeldUpConsumer) -> Poller:
    """A poller with this consumer."""
    log = get_logger()
    nothing: Any = None
    dead_letters = DeadLetters(nothing, nothing, Metrics().dead_letters, log)
    return Poller(lambda: consumer, ["step.commands"], dead_letters, log)


async def test_a_poll_that_is_held_up_lets_the_executor_do_other_things() -> None:
    """Each call comes back with nothing, and all of them are about one poll, which is never cancelled."""
    consumer = HeldUpConsumer()
    poller = poller_of(consumer)
    await poller.start()
    assert await poller.poll(1, 0.01) == []
    assert await poller.poll(1, 0.01) == []
    await poller.keep_alive()
    assert consumer.polls == 1
    consumer.rebalanced.set()
    assert await poller.poll(1, 0.01) == []
    await poller.poll(1, 0.01)
    assert consumer.polls == 2


async def test_an_executor_that_is_full_goes_on_polling() -> None:
    """Every sign of life is a poll of its own."""
    consumer = HeldUpConsumer()
    consumer.rebalanced.set()
    poller = poller_of(consumer)
    await poller.start()
    for _ in range(3):
        await poller.keep_alive()
    assert consumer.polls == 3


async def test_a_poller_closes_while_it_is_held_up() -> None:
    """Nobody waits for the answer any more."""
    consumer = HeldUpConsumer()
    poller = poller_of(consumer)
    await poller.start()
    await poller.poll(1, 0.01)
    await poller.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
