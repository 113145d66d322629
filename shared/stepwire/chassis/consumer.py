"""A consumer whose own trouble is never taken for the end of whoever reads with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stepwire.chassis.logging import get_logger

END_SECONDS = 3.0
LAST_SECONDS = 1.0


class Consumer(AIOKafkaConsumer):  # type: ignore[misc] # aiokafka ships no types
    """aiokafka's consumer; where one of its tasks was cancelled by another, that is an error like any other.

    It cancels tasks of its own when it loses an assignment or a connection, and whoever waits for such a task is
    cancelled with it: a service would end, and say nothing.
    """

    async def stop(self, *, seconds: float = END_SECONDS) -> None:
        """Stop and leave the group; what holds that up is cut off after `seconds`.

        A stop waits for the group's joining to end, and that for members that live but do not rejoin. And one that
        meets its own fetcher in the pause after a failed fetch is cancelled with it.

        Raises:
            KafkaError: it did not end in order; it has ended all the same.
        """
        stopping = asyncio.create_task(super().stop(), name="stop")
        await asyncio.wait({stopping}, timeout=seconds)
        with _its_own_end():
            if stopping.done() and not stopping.cancelled():
                stopping.result()
                return
            get_logger().info("The consumer did not end in order.", action="consumer")
            # Whatever it still waits for is never answered now, so it goes on with its own end.
            await self._client.close()
            await asyncio.wait({stopping}, timeout=LAST_SECONDS)
            stopping.cancel()
            await asyncio.wait({stopping}, timeout=LAST_SECONDS)

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

    async def partitions_of(self, topic: str) -> list[TopicPartition]:
        """All partitions of a topic, as soon as brokers have told of it; from then on the consumer keeps them in view.

        Raises:
            KafkaError: they do not tell.
        """
        with _its_own_trouble():
            return [TopicPartition(topic, number) for number in sorted(await self._client._wait_on_metadata(topic))]  # noqa: SLF001  # nothing public waits

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


@contextmanager
def _its_own_end() -> Iterator[None]:
    """One of its tasks may have broken long ago, whereof nobody is told before the end."""
    try:
        yield
    except KafkaError:
        raise
    except Exception as error:
        raise KafkaError(f"the consumer did not end in order: {error!r}") from error
