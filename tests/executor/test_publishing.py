"""Results on their way to Kafka, when Kafka does not take them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from stepwire.chassis.errors import ChassisError, KafkaUnavailable, RecordTooLarge, TopicRefused
from stepwire.chassis.kafka import Outgoing, Producer
from stepwire.chassis.logging import get_logger
from stepwire_executor import publishing
from stepwire_executor.publishing import Publisher


class Broker:
    """Takes records, after raising what it is told to."""

    def __init__(self, *errors: ChassisError) -> None:
        self.taken: list[bytes] = []
        self._errors = list(errors)

    async def send_all(self, records: Sequence[Outgoing]) -> None:
        """Take all or none."""
        if self._errors:
            raise self._errors.pop(0)
        self.taken += [record.value for record in records]


def publisher_to(broker: Broker) -> Publisher:
    """A publisher of results."""
    return Publisher(cast("Producer", broker), "step.results", get_logger())


@pytest.mark.parametrize("error", [KafkaUnavailable("away"), TopicRefused("the topic is not known yet")])
async def test_a_result_waits_for_kafka_and_for_its_topic(error: ChassisError, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that has just been restarted says that the topic does not exist: that fails no step."""
    monkeypatch.setattr(publishing, "RETRY_SECONDS", 0.0)
    broker = Broker(error, error)
    publisher = publisher_to(broker)
    await asyncio.gather(publisher.publish(b"k", b"first"), publisher.publish(b"k", b"second"))
    assert broker.taken == [b"first", b"second"]


async def test_a_result_that_is_too_large_harms_no_other() -> None:
    """Those that travel with it are sent by themselves."""
    broker = Broker(RecordTooLarge("in a batch"), RecordTooLarge("alone"))
    publisher = publisher_to(broker)
    large, small = publisher.publish(b"k", b"large"), publisher.publish(b"k", b"small")
    with pytest.raises(RecordTooLarge, match="alone"):
        await large
    await small
    assert broker.taken == [b"small"]
