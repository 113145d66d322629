"""Offsets are committed behind the batches, always explicitly, one commit in flight."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stepwire.chassis.logging import get_logger

GIVE_UP_SECONDS = 5.0


class OffsetCommitter:
    """Commits the highest offset of each partition whose batch is in the database."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        """Commit for this consumer."""
        self._consumer = consumer
        self._done: dict[TopicPartition, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._log = get_logger()

    def done(self, offsets: dict[TopicPartition, int]) -> None:
        """These batches are committed in the database: their offsets may move on."""
        self._done |= offsets
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._commit())

    async def flush(self) -> None:
        """Wait for the commit in flight and for the last one."""
        while self._done or (self._task is not None and not self._task.done()):
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._commit())
            await self._task

    def forget(self, partitions: set[TopicPartition]) -> None:
        """Revoked partitions are somebody else's to commit."""
        self._done = {tp: at for tp, at in self._done.items() if tp not in partitions}

    async def _commit(self) -> None:
        while self._done:
            assigned = self._consumer.assignment()
            offsets = {tp: at for tp, at in self._done.items() if tp in assigned}
            self._done = {}
            if offsets:
                await self._commit_once(offsets)

    async def _commit_once(self, offsets: dict[TopicPartition, int]) -> None:
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                await self._consumer.commit(offsets)
        except (KafkaError, TimeoutError) as error:
            # Read again after a restart: everything behind these offsets is applied only once.
            self._log.info("Offsets were not committed.", action="offsets", error=repr(error))
