"""Fixtures of the executor's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from stepwire.chassis.kafka import create_topics, wanted_topics
from stepwire.chassis.settings import Settings
from tests.executor.harness import Harness


@pytest.fixture
async def harness(settings: Settings) -> AsyncIterator[Harness]:
    """A database and topics of this test's own, to start executors on."""
    await create_topics(settings)
    harness = Harness(settings)
    await harness.start()
    yield harness
    await harness.stop()
    await _delete_topics(settings)


async def _delete_topics(settings: Settings) -> None:
    """Kafka keeps something in memory for each partition, and has little of it here."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    try:
        await admin.delete_topics(wanted_topics(settings))
    finally:
        await admin.close()
