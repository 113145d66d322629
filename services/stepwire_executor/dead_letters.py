"""Records nobody can read, put aside for an operator."""

from __future__ import annotations

from typing import Any

from aiokafka import ConsumerRecord
from prometheus_client import Counter
from structlog.typing import FilteringBoundLogger

from stepwire.chassis.dead_letters import dead_letter
from stepwire.chassis.kafka import Producer
from stepwire.chassis.settings import Settings
from stepwire.contracts.reasons import DeadLetter


class DeadLetters:
    """Copies a record as it came, with headers that say where from and why."""

    def __init__(self, producer: Producer, settings: Settings, counter: Counter, log: FilteringBoundLogger) -> None:
        self._producer = producer
        self._settings = settings
        self._counter = counter
        self._log = log

    async def put(self, record: ConsumerRecord[Any, Any], error: DeadLetter, detail: str) -> None:
        """Publish the dead letter of `record`; it is told and counted when Kafka has acknowledged it."""
        limit = self._settings.max_message_bytes
        await self._producer.send(dead_letter(record, error.value, max_message_bytes=limit))
        self._counter.labels(record.topic.removeprefix(self._settings.topic_prefix), error.value).inc()
        self._log.warning(
            "A record was put aside.",
            action="dead_letter",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            reason=detail,
        )
