"""Polls that a rebalance holds up."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from stepwire.chassis.errors import KafkaUnavailable
from stepwire.chassis.logging import get_logger
from stepwire.chassis.metrics import Metrics
from stepwire.chassis.settings import Settings
from stepwire_executor import polling
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


class Letters:
    """A producer that Kafka does not answer the first time."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self._away = True

    async def send(self, record: Any) -> None:
        """Take a record, or not."""
        if self._away:
            self._away = False
            raise KafkaUnavailable("not now")
        self.sent.append(record)


async def test_a_record_that_cannot_be_read_is_told_once_and_without_what_is_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However often Kafka does not take it; what is in it may be State, which is in no log."""
    monkeypatch.setattr(polling, "RETRY_SECONDS", 0.0)
    value = b'{"state": "s3cr3t", "epoch": "s3cr3t"}'
    record: Any = SimpleNamespace(topic="step.commands", partition=0, offset=7, key=None, value=value, headers=())
    producer: Any = Letters()
    metrics = Metrics()
    with structlog.testing.capture_logs() as told:
        letters = DeadLetters(producer, Settings(), metrics.dead_letters, get_logger())
        consumer: Any = HeldUpConsumer
        poller = Poller(consumer, ["step.commands"], letters, get_logger())
        assert await poller._decode(record) is None  # noqa: SLF001 - what a poll does with each record
    assert len(producer.sent) == 1
    labels = {"topic": "step.commands", "error": "malformed"}
    assert metrics.registry.get_sample_value("stepwire_dead_letters_total", labels) == 1
    (put_aside,) = [line for line in told if line.get("offset") == 7]
    assert "epoch: " in put_aside["reason"]
    assert "s3cr3t" not in str(told)
