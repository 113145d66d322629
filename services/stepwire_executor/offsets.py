"""Committing offsets behind the work: explicit, in the background, one commit at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from structlog.typing import FilteringBoundLogger

COMMIT_SECONDS = 5.0


class Offsets:
    """Remembers how far a poll was taken and commits that; a commit that fails is made up by the next."""

    def __init__(self, consumer: AIOKafkaConsumer, log: FilteringBoundLogger) -> None:
        self._consumer = consumer
        self._log = log
        self._taken: dict[TopicPartition, int] = {}
        self._task: asyncio.Task[None] | None = None

    def taken(self, polled: Mapping[TopicPartition, Sequence[ConsumerRecord[Any, Any]]]) -> None:
        """All records of this poll are in PostgreSQL, or not for us: commit behind the last of each partition."""
        for partition, records in polled.items():
            self._taken[partition] = records[-1].offset + 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._commit_all(), name="commit offsets")

    async def settle(self) -> None:
        """Wait until what was taken is committed, as far as that is possible."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _commit_all(self) -> None:
        while self._taken:
            offsets, self._taken = self._taken, {}
            await self._commit(offsets)

    async def _commit(self, offsets: dict[TopicPartition, int]) -> None:
        ours = self._consumer.assignment()
        kept = {partition: offset for partition, offset in offsets.items() if partition in ours}
        if not kept:
            return
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._consumer.commit(kept)
        except (KafkaError, TimeoutError) as error:
            # The records come again, to us or to another: their claims are taken already.
            self._log.info("Offsets were not committed.", action="commit", reason=repr(error))
