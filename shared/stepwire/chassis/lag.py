"""How far a consumer is behind, as its service tells it."""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka import TopicPartition

from stepwire.chassis.metrics import Metrics
from stepwire.chassis.settings import Settings


class Lag:
    """The gauge of the partitions a service reads now; those that another one reads are not its to tell."""

    def __init__(self, metrics: Metrics, settings: Settings) -> None:
        self._gauge = metrics.consumer_lag
        self._prefix = settings.topic_prefix
        self._shown: set[tuple[str, str]] = set()

    def show(self, behind: Mapping[TopicPartition, int]) -> None:
        """Tell how many records are before each partition that is assigned; `topic` is told without its prefix."""
        counts = {(tp.topic.removeprefix(self._prefix), str(tp.partition)): count for tp, count in behind.items()}
        for labels in self._shown - counts.keys():
            # The last figure would stand there for as long as the service lives.
            self._gauge.remove(*labels)
        for labels, count in counts.items():
            self._gauge.labels(*labels).set(max(0, count))
        self._shown = set(counts)
