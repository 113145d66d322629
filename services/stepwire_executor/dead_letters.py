"""Records nobody can read, put aside for an operator."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aiokafka import ConsumerRecord
from prometheus_client import Counter
from structlog.typing import FilteringBoundLogger

from stepwire.chassis.kafka import Outgoing, Producer
from stepwire.contracts import topics
from stepwire.contracts.reasons import DeadLetter
from stepwire.contracts.tracing import trace_headers, traceparent_in


class DeadLetters:
    """Copies a record as it came, with headers that say where from and why."""

    def __init__(self, producer: Producer, counter: Counter, log: FilteringBoundLogger) -> None:
        self._producer = producer
        self._counter = counter
        self._log = log

    async def put(self, record: ConsumerRecord[Any, Any], error: DeadLetter, detail: str) -> None:
        """Publish the dead letter of `record`; returns when Kafka has acknowledged it."""
        self._log.warning(
            "A record is put aside.",
            action="dead_letter",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            reason=detail,
        )
        self._counter.labels(record.topic, error.value).inc()
        key = (record.key or b"").decode("utf-8", "replace")
        headers = (
            *record.headers,
            *(() if traceparent_in(record.headers) else trace_headers(None, key)),
            ("x-error", error.value.encode()),
            ("x-topic", record.topic.encode()),
            ("x-partition", str(record.partition).encode()),
            ("x-offset", str(record.offset).encode()),
            ("x-time", datetime.now(UTC).isoformat().encode()),
        )
        value = b"" if record.value is None else record.value
        await self._producer.send(Outgoing(topics.dead_letters(record.topic), value, record.key, headers))
