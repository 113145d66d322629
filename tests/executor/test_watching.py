"""Consumers that are stuck, and topics that are other ones than before."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from stepwire.chassis.logging import get_logger
from stepwire.chassis.metrics import Metrics
from stepwire.chassis.settings import Settings
from stepwire_executor import watching
from stepwire_executor.watching import Watchdog

PARTITION = TopicPartition("step.commands", 3)


class Stage:
    """A consumer that stands where the test puts it, and a cluster whose topics have the ids the test gives them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stuck_seconds: float = 0.0, prefix: str = "") -> None:
        self.topics = ["step.commands"]
        self.polled_at = time.monotonic()
        self.reopen = False
        self.places: dict[TopicPartition, tuple[int, int]] = {}
        self.ids = {"step.commands": "a", "step.results": "b"}
        self.away = False
        self.rebuilt = 0
        self.metrics = Metrics()
        settings = Settings(topic_prefix=prefix)
        chassis: Any = SimpleNamespace(settings=settings, metrics=self.metrics, log=get_logger(), producer=self)
        poller: Any = self
        monkeypatch.setattr(watching, "topic_ids", self._topic_ids)
        self.watchdog = Watchdog(chassis, poller, stuck_seconds)

    async def lag(self) -> dict[TopicPartition, tuple[int, int]]:
        """Where the consumer stands."""
        if self.away:
            raise KafkaConnectionError
        return self.places

    async def rebuild(self) -> None:
        """Count how often the producer was replaced."""
        self.rebuilt += 1

    async def _topic_ids(self, _bootstrap: str, names: list[str]) -> dict[str, str]:
        return {name: self.ids[name.removeprefix("test.")] for name in names}


async def test_records_before_a_consumer_that_stands_still_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names the partition; the lag is a metric."""
    stage = Stage(monkeypatch)
    stage.places = {PARTITION: (10, 5)}
    assert await stage.watchdog.look() is None
    stuck = await stage.watchdog.look()
    assert stuck is not None
    assert "step.commands-3" in stuck
    assert b'stepwire_consumer_lag{partition="3",topic="step.commands"} 5.0' in stage.metrics.render()


async def test_the_lag_of_partitions_that_another_reads_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure of before the rebalance would stand there for ever; topics have the same names in all services."""
    stage = Stage(monkeypatch, prefix="test.")
    stage.places = {TopicPartition("test.step.commands", 3): (10, 5), TopicPartition("test.step.commands", 4): (7, 2)}
    await stage.watchdog.look()
    stage.places.popitem()
    await stage.watchdog.look()
    shown = [line for line in stage.metrics.render().splitlines() if line.startswith(b"stepwire_consumer_lag{")]
    assert shown == [b'stepwire_consumer_lag{partition="3",topic="step.commands"} 5.0']


async def test_a_consumer_that_moves_or_has_nothing_before_it_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any step forward begins the time anew."""
    stage = Stage(monkeypatch)
    for place in ((10, 5), (11, 9), (12, 1), (13, 0), (13, 0)):
        stage.places = {PARTITION: place}
        assert await stage.watchdog.look() is None


async def test_a_full_executor_is_not_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not poll, and has no room for what is before it."""
    stage = Stage(monkeypatch)
    stage.places = {PARTITION: (10, 5)}
    stage.polled_at -= 60
    assert [await stage.watchdog.look() for _ in range(3)] == [None, None, None]


async def test_a_kafka_that_is_away_says_nothing_about_the_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ending the process would not bring it back."""
    stage = Stage(monkeypatch)
    stage.places, stage.away = {PARTITION: (10, 5)}, True
    assert [await stage.watchdog.look() for _ in range(3)] == [None, None, None]


async def test_with_new_topics_everything_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions and producer ids belong to topics that are gone."""
    stage = Stage(monkeypatch)
    await stage.watchdog.look()
    assert (stage.rebuilt, stage.reopen) == (0, False)
    stage.ids["step.commands"] = "c"
    await stage.watchdog.look()
    await stage.watchdog.look()
    assert (stage.rebuilt, stage.reopen) == (1, True)
