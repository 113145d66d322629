"""A consumer whose own trouble is never taken for the end of whoever reads with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError


class Consumer(AIOKafkaConsumer):  # type: ignore[misc] # aiokafka ships no types
    """aiokafka's consumer; where one of its tasks was cancelled by another, that is an error like any other.

    It cancels tasks of its own when it loses an assignment or a connection, and whoever waits for such a task is
    cancelled with it: a service would end, and say nothing.
    """

    async def getmany(self, *partitions: TopicPartition, **options: Any) -> Any:
        """As of AIOKafkaConsumer; so are the others."""
        with _its_own_trouble():
            return await super().getmany(*partitions, **options)

    async def commit(self, offsets: Any = None) -> None:
        """Commit offsets."""
        with _its_own_trouble():
            await super().commit(offsets)

    async def committed(self, partition: TopicPartition) -> Any:
        """The offset that is committed."""
        with _its_own_trouble():
            return await super().committed(partition)

    async def position(self, partition: TopicPartition) -> Any:
        """The offset of the next record."""
        with _its_own_trouble():
            return await super().position(partition)

    async def end_offsets(self, partitions: Any) -> Any:
        """Where partitions end."""
        with _its_own_trouble():
            return await super().end_offsets(partitions)


@contextmanager
def _its_own_trouble() -> Iterator[None]:
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise KafkaError("the consumer has cancelled a task of its own") from error
