"""The feed of events for clients: from now on, or from a cursor, filtered by process and type."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stepwire.chassis.kafka import make_consumer
from stepwire.chassis.logging import get_logger
from stepwire.chassis.settings import Settings
from stepwire.contracts import topics
from stepwire_gateway.hub import FellBehind, Filter, Hub, Item, Positions, kind_of, make_cursor
from stepwire_gateway.problems import Problem, kafka_away, malformed
from stepwire_gateway.tail import Tail, TailRecord

REPLAY_MS = 500
# After a restart of the gateway all its clients come back at once, each with a cursor.
MAX_REPLAYS = 8


class Feed:
    """Gives each client the events it wants, each once and in their order per process."""

    def __init__(self, settings: Settings, tail: Tail) -> None:
        self._settings = settings
        self._tail = tail
        self._topic = settings.topic(topics.PROCESS_EVENTS)
        self._hub = Hub(tail)
        self._replays = asyncio.Semaphore(MAX_REPLAYS)
        self._log = get_logger()

    def items(self, wanted: Filter, cursor: str | None) -> AsyncIterator[Item]:
        """The events from `cursor` on, without one from now on; ends in FellBehind where the client is too slow.

        Raises:
            Problem: the cursor cannot be read, Kafka is away, or too many listen already.
        """
        since = read_cursor(cursor) if cursor else None
        if not self._tail.ready.is_set():
            raise kafka_away()
        self._hub.check_room()
        return self._items(wanted, since)

    async def _items(self, wanted: Filter, since: Positions | None) -> AsyncIterator[Item]:
        if since is not None:
            await self._tail.reach(since)
        with self._hub.listen(wanted) as (listener, start):
            positions = dict(start) if since is None else _known(since, start)
            yield Item(make_cursor(positions), "", b"")
            async for record in self._between(positions, start):
                if item := _item(record, wanted, positions):
                    yield item
            while (live := await listener.queue.get()) is not None:
                yield live
        raise FellBehind("the client reads slower than events come; go on at the last id")

    async def _between(self, positions: Positions, ends: Mapping[int, int]) -> AsyncIterator[TailRecord]:
        """The records from `positions`, which the caller moves on, up to `ends`."""
        behind = {number for number, end in ends.items() if positions[number] < end}
        if not behind:
            return
        async with self._replays, self._replaying({number: positions[number] for number in behind}) as consumer:
            while any(positions[number] < ends[number] for number in behind):
                for record in await _some(consumer):
                    if record.offset < ends[record.partition]:
                        yield record
                for number in behind:
                    # Records that are gone by retention, or control records, are passed over.
                    reached = await consumer.position(TopicPartition(self._topic, number))
                    positions[number] = max(positions[number], min(reached, ends[number]))

    @asynccontextmanager
    async def _replaying(self, positions: Mapping[int, int]) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = make_consumer(self._settings, group=None, fetch_max_wait_ms=REPLAY_MS)
        consumer.assign([TopicPartition(self._topic, number) for number in positions])
        try:
            await consumer.start()
            for number, offset in positions.items():
                consumer.seek(TopicPartition(self._topic, number), offset)
            yield consumer
        except (KafkaError, OSError) as error:
            self._log.warning("Events could not be replayed.", action="replay", reason=repr(error))
            raise kafka_away() from error
        finally:
            await consumer.stop()


def read_cursor(cursor: str) -> Positions:
    """The place that `make_cursor` wrote down.

    Raises:
        Problem: it was not written by a gateway.
    """
    try:
        flat = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        return dict(zip(map(_count, flat[::2]), map(_count, flat[1::2]), strict=True))
    except (binascii.Error, orjson.JSONDecodeError, ValueError, TypeError, KeyError) as error:
        raise _unreadable() from error


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("no offset")
    return value


def _unreadable() -> Problem:
    return malformed("the cursor cannot be read; take it from an event's id, or leave it out")


def _known(since: Positions, start: Mapping[int, int]) -> Positions:
    """The cursor for the partitions there are, never beyond what exists; one added since is read from its beginning."""
    return {number: min(since.get(number, 0), end) for number, end in start.items()}


async def _some(consumer: AIOKafkaConsumer) -> list[TailRecord]:
    batches = await consumer.getmany(timeout_ms=REPLAY_MS)
    return [record for batch in batches.values() for record in batch]


def _item(record: TailRecord, wanted: Filter, positions: Positions) -> Item | None:
    positions[record.partition] = record.offset + 1
    if wanted.key is not None and record.key != wanted.key:
        return None
    kind = kind_of(record)
    if kind is None or (wanted.type is not None and kind != wanted.type):
        return None
    return Item(make_cursor(positions), kind, record.value or b"")
