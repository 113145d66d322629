"""The tail of `process.events` and `forms.replies`: every record from now on, read without a group.

Thousands of events per second pass here for a few that somebody waits for, so a record is looked at by its key alone;
its JSON is read only for those who registered for that key, or who follow everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import orjson
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from stepwire.chassis.consumer import Consumer
from stepwire.chassis.health import Health
from stepwire.chassis.kafka import make_consumer
from stepwire.chassis.logging import get_logger
from stepwire.chassis.settings import Settings
from stepwire.chassis.waiting import done_before
from stepwire.contracts import topics

DEPENDENCY = "events"
POLL_MS = 1000
FETCH_WAIT_MS = 1000
FIRST_BACKOFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 5.0
STOP_SECONDS = 5.0
UNATTENDED_SECONDS = 0.1
REACH_SECONDS = 2.0


class TailRecord(NamedTuple):
    """What is used of a consumer's record; its value is raw."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


Listener = Callable[[dict[str, Any]], None]
Follower = Callable[[TailRecord], None]


class Tail:
    """Reads both topics from their ends and hands records to those who wait for them."""

    def __init__(self, settings: Settings, instance: str, health: Health) -> None:
        self.ready = asyncio.Event()
        self._health = health
        self._settings = settings
        self._events = settings.topic(topics.PROCESS_EVENTS)
        self._replies = settings.topic(topics.FORMS_REPLIES)
        self._topics = (self._events, self._replies)
        self._instance = instance.encode()
        self._by_key: dict[bytes, list[Listener]] = {}
        self._reply_listeners: list[Listener] = []
        self._followers: list[Follower] = []
        self._positions: dict[TopicPartition, int] = {}
        self._attending = 0
        self._wanted = asyncio.Event()
        self._moved = asyncio.Event()
        self._log = get_logger()
        health.set(DEPENDENCY, "not read yet")

    @contextmanager
    def events_of(self, keys: Sequence[bytes], listener: Listener) -> Iterator[None]:
        """Give `listener` the events under any of `keys` while the context lasts."""
        for key in keys:
            self._by_key.setdefault(key, []).append(listener)
        try:
            with self.attended():
                yield
        finally:
            for key in keys:
                self._forget(key, listener)

    @contextmanager
    def attended(self) -> Iterator[None]:
        """Read without delay while the context lasts: somebody waits."""
        self._attending += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._attending -= 1
            if not self._attending:
                self._wanted.clear()

    def on_reply(self, listener: Listener) -> None:
        """Give `listener` every form reply for this gateway."""
        self._reply_listeners.append(listener)

    @contextmanager
    def follow(self, follower: Follower) -> Iterator[dict[int, int]]:
        """Give `follower` every event, unread, while the context lasts; yields where each partition goes on."""
        self._followers.append(follower)
        try:
            with self.attended():
                yield {at.partition: offset for at, offset in self._positions.items() if at.topic == self._events}
        finally:
            self._followers.remove(follower)

    async def reach(self, positions: Mapping[int, int]) -> None:
        """Read events up to `positions`: who got them from another gateway may be ahead of this one for a moment.

        Positions that are never reached are those of a topic that is gone.
        """
        wanted = {TopicPartition(self._events, number): offset for number, offset in positions.items()}
        with self.attended(), suppress(TimeoutError):
            async with asyncio.timeout(REACH_SECONDS):
                while any(self._positions.get(at, offset) < offset for at, offset in wanted.items()):
                    self._moved.clear()
                    await self._moved.wait()

    async def run(self, stopping: asyncio.Event) -> None:
        """Read until `stopping`; with Kafka away it tries again and again."""
        failures = 0
        while not stopping.is_set():
            try:
                await self._session(stopping)
            except (KafkaError, OSError) as error:
                failures = 1 if self.ready.is_set() else failures + 1
                self.ready.clear()
                self._health.set(DEPENDENCY, repr(error))
                self._log.warning("The tail of events is interrupted.", action="tail", reason=repr(error))
                await _until_set(stopping, min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(failures, 10)))

    async def _session(self, stopping: asyncio.Event) -> None:
        consumer = make_consumer(
            self._settings,
            group=None,
            # The one place that begins at the end: what went before concerns nobody who waits here.
            auto_offset_reset="latest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            check_crcs=False,
        )
        try:
            # A broker that takes connections and says nothing must not keep the service from stopping.
            if await _unless(stopping, self._begin(consumer)):
                await self._read(consumer, stopping)
        finally:
            await consumer.stop()

    async def _begin(self, consumer: Consumer) -> None:
        await consumer.start()
        await self._assign(consumer)
        self.ready.set()
        self._health.set(DEPENDENCY, None)

    async def _assign(self, consumer: Consumer) -> None:
        """Read all partitions there are: from their ends, or where it was interrupted.

        One that was added to a topic is read from its beginning. And it is not left to aiokafka to find it: that would
        go to the ends of all the others, too, and nobody would know what was missed.
        """
        ends = await consumer.end_offsets([at for topic in self._topics for at in await consumer.partitions_of(topic)])
        known, topics_read = self._positions, {at.topic for at in self._positions}
        # Where the last position is beyond the end the topic was created anew: its offsets begin again.
        self._positions = {
            at: min(known.get(at, 0 if at.topic in topics_read else end), end) for at, end in ends.items()
        }
        consumer.assign(list(self._positions))
        for partition, position in self._positions.items():
            consumer.seek(partition, position)

    def _were_added(self, consumer: Consumer) -> bool:
        there = sum(len(consumer.partitions_for_topic(topic) or ()) for topic in self._topics)
        return there > len(self._positions)

    async def _read(self, consumer: Consumer, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            if self._were_added(consumer) and not await _unless(stopping, self._assign(consumer)):
                return
            batches = await consumer.getmany(timeout_ms=POLL_MS)
            for partition, records in batches.items():
                self._hand_out(partition.topic, records)
                self._positions[partition] = records[-1].offset + 1
            self._moved.set()
            if not self._attending:
                # A fetch for every event nobody waits for would cost the broker more than the event itself.
                await _until_set(self._wanted, UNATTENDED_SECONDS)

    def _hand_out(self, topic: str, records: Sequence[TailRecord]) -> None:
        if topic == self._replies:
            for record in records:
                self._reply(record)
            return
        for record in records:
            listeners = self._by_key.get(record.key) if record.key is not None else None
            if listeners is not None:
                self._tell(listeners, record)
        if self._followers:
            self._follow(records)

    def _reply(self, record: TailRecord) -> None:
        if record.value is not None and self._instance in record.value:
            self._tell(self._reply_listeners, record)

    def _follow(self, records: Sequence[TailRecord]) -> None:
        for record in records:
            for follower in tuple(self._followers):
                follower(record)

    def _tell(self, listeners: Sequence[Listener], record: TailRecord) -> None:
        document = _document(record.value)
        if document is None:
            self._log.warning("A record is no JSON object.", action="tail", topic=record.topic, offset=record.offset)
            return
        for listener in tuple(listeners):
            listener(document)

    def _forget(self, key: bytes, listener: Listener) -> None:
        listeners = self._by_key[key]
        listeners.remove(listener)
        if not listeners:
            del self._by_key[key]


def _document(value: bytes | None) -> dict[str, Any] | None:
    try:
        document = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


async def _unless(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do `work` unless `event` comes first; says whether it was done."""
    doing = asyncio.ensure_future(work)
    try:
        if not await done_before(doing, event):
            return False
        doing.result()
        return True
    finally:
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)


async def _until_set(event: asyncio.Event, seconds: float) -> None:
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait({waiting}, timeout=seconds)
    waiting.cancel()
