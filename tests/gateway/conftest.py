"""One gateway per test module, on a database and topics of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
import pytest_asyncio

from stepwire.chassis.kafka import create_topics
from stepwire.chassis.settings import CallbackSecret, Settings
from tests.gateway import stage as stages
from tests.gateway.stage import Stage, open_stage
from tests.support import databases


@pytest.fixture(scope="module")
def gateway_settings(database_url: str, database_template: str, kafka_bootstrap: str) -> Iterator[Settings]:
    """Settings for the gateway of one test module; what shall come late is sent `impatient`ly."""
    with databases.cloned(database_url, database_template) as url:
        yield Settings(
            database_url=url,
            kafka_bootstrap=kafka_bootstrap,
            topic_prefix=f"g{uuid4().hex[:8]}.",
            topic_partitions=2,
            callback_secrets=(CallbackSecret.of("a secret for tests"), CallbackSecret.of("an older secret")),
            gateway_port=0,
            accept_wait_seconds=stages.PATIENCE_SECONDS,
            form_timeout_seconds=stages.PATIENCE_SECONDS,
            body_max_bytes=64 * 1024,
            testing=True,
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(gateway_settings: Settings) -> AsyncIterator[Stage]:
    """The gateway of this module."""
    await create_topics(gateway_settings)
    async with open_stage(gateway_settings) as stage:
        # The brokers may still be choosing leaders for topics made just now.
        async with asyncio.timeout(stages.WAIT_SECONDS):
            await stage.gateway.tail.ready.wait()
        yield stage


@pytest_asyncio.fixture(loop_scope="module")
async def stage(served: Stage) -> Stage:
    """The gateway with played services that accept everything, and nothing remembered of earlier tests."""
    served.answer, served.form = stages.accept, stages.verdict("complete")
    served.by_event = served.by_row = True
    for seen in (served.commands, served.questions, served.callbacks):
        seen.clear()
    return served
