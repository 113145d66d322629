"""Fixtures of the executor's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from stepwire.chassis.kafka import create_topics
from stepwire.chassis.settings import Settings
from stepwire_executor import fetching, forms
from tests.conftest import TEST_PARTITIONS
from tests.executor import flows
from tests.executor.harness import Harness

POLL_SECONDS = 0.1


@pytest.fixture(autouse=True)
def short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """An executor that stops waits for its poll, and here one stops at the end of every test."""
    monkeypatch.setattr(fetching, "POLL_SECONDS", POLL_SECONDS)
    monkeypatch.setattr(forms, "POLL_SECONDS", POLL_SECONDS)


@pytest.fixture(autouse=True)
def closed_gates() -> None:
    """A test that is tried once more finds its gates closed, and nothing begun."""
    flows.effects.clear()
    flows.gates.clear()


@pytest.fixture(scope="session")
def topic_prefix(kafka_bootstrap: str) -> str:
    """Topics that all these tests share: each has a database of its own, in which others' runs do not exist."""
    prefix = f"executor{uuid4().hex[:6]}."
    settings = Settings(kafka_bootstrap=kafka_bootstrap, topic_prefix=prefix, topic_partitions=TEST_PARTITIONS)
    asyncio.run(create_topics(settings))
    return prefix


@pytest.fixture
async def harness(settings: Settings) -> AsyncIterator[Harness]:
    """A database of this test's own, and topics, to start executors on."""
    harness = Harness(settings)
    await harness.start()
    yield harness
    await harness.stop()
