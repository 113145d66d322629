"""Reading topics in tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stepwire.chassis.kafka import make_consumer
from stepwire.chassis.settings import Settings

READ_SECONDS = 30


async def read_until(settings: Settings, topic: str, enough: Callable[[list[bytes]], bool]) -> list[bytes]:
    """All values of `topic` from its beginning, in the order they come, as soon as they are enough."""
    consumer = make_consumer(settings, group=None)
    consumer.subscribe([topic])
    await consumer.start()
    values: list[bytes] = []
    try:
        async with asyncio.timeout(READ_SECONDS):
            while not enough(values):
                values.append((await consumer.getone()).value)
    finally:
        await consumer.stop()
    return values
