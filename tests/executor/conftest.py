"""Fixtures of the executor's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from stepwire.chassis.kafka import create_topics
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
