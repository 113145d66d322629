"""Offsets are committed behind the work, always explicitly, one commit in flight and not after every poll."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Protocol

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from stepwire.chassis.logging import get_logger

GIVE_UP_SECONDS = 5.0
# Each commit is a write of the broker's own; what is read again after a crash is recognized as known.
REST_SECONDS = 0.2


class Committing(Protocol):
    """What offsets are committed with: a consumer of aiokafka."""

    def assignment(self) -> AbstractSet[TopicPartition]:
        """The partitions that are ours now."""

    async def commit(self, offsets: dict[TopicPartition, int], /) -> None:
        """Let Kafka remember offsets; raises KafkaError."""


class OffsetCommitter:
    """Commits the highest offset of each partition whose records are taken care of."""

    def __init__(self, consumer: Committing) -> None:
        """Commit for this consumer, or for what reads with several."""
        self._consumer = consumer
        self._done: dict[TopicPartition, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._log = get_logger()

    def done(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Everything before these offsets is in PostgreSQL, or not for us: they may move on."""
        self._done |= offsets
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._commit(), name="commit offsets")

    async def flush(self) -> None:
        """Commit what is left and wait for it, as far as that is possible."""
        self._hurry.set()
        if self._task is not None:
            await asyncio.wait({self._task})
        await self._commit_done()
        self._hurry.clear()

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Revoked partitions are somebody else's to commit."""
        gone = set(partitions)
        self._done = {tp: at for tp, at in self._done.items() if tp not in gone}

    async def _commit(self) -> None:
        while self._done and not self._hurry.is_set():
            await self._commit_done()
            try:
                async with asyncio.timeout(REST_SECONDS):
                    await self._hurry.wait()
            except TimeoutError:
                continue

    async def _commit_done(self) -> None:
        assigned = self._consumer.assignment()
        offsets = {tp: at for tp, at in self._done.items() if tp in assigned}
        self._done = {}
        if not offsets:
            return
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                await self._consumer.commit(offsets)
        except (KafkaError, TimeoutError) as error:
            # Read again after a restart: everything behind these offsets is taken only once.
            self._log.info("Offsets were not committed.", action="offsets", error=repr(error))
