"""A producer whose every wait for an acknowledgement ends, and that outlives a broken idempotent session."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    ProducerClosed,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.partitioner import murmur2
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from stepwire.chassis.errors import KafkaUnavailable, RecordTooLarge, TopicRefused
from stepwire.chassis.logging import get_logger
from stepwire.chassis.settings import Settings

ACKNOWLEDGE_SECONDS = 30.0
REQUEST_TIMEOUT_MS = 10_000
METADATA_MAX_AGE_MS = 5000
BATCH_BYTES = 128 * 1024
BACKOFF_SECONDS = 0.2
# A batch also holds records of others: only one that is refused again and again is itself at fault.
SIZE_TRIES = 3
SENDER_CANCELS = 20
TICK_SECONDS = 0.25
KEYS_REMEMBERED = 65_536
# From so many records on it pays to fill a partition's batch ourselves instead of awaiting a future per record.
BULK = 32
SENDER_SECONDS = 0.2

_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
_REFUSED = (InvalidTopicError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError)


Acknowledgement = asyncio.Future[object]


@lru_cache(maxsize=KEYS_REMEMBERED)
def _hash_of(key: bytes) -> int:
    """Kafka's own hash of a key; a process has a dozen records, and in Python the hash is the dearest part of each."""
    return int(murmur2(key)) & 0x7FFFFFFF


def _partition(key: bytes | None, every: list[int], available: list[int]) -> int:
    """The partition every Kafka client puts this key into; records without key go anywhere."""
    if key is None:
        return random.choice(available or every)  # noqa: S311  # spreads load, hides nothing
    return every[_hash_of(key) % len(every)]


class Outgoing(NamedTuple):
    """A record to be published; `topic` is the full name, prefix included."""

    topic: str
    value: bytes
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()


class Producer:
    """Publishes with acks=all, idempotently, and returns only when everything is acknowledged.

    An idempotent session that failed once refuses all later records of that partition, so it is closed,
    replaced, and what was not acknowledged is sent again: a record may arrive twice, never not at all.
    """

    def __init__(self, settings: Settings, *, acknowledge_seconds: float = ACKNOWLEDGE_SECONDS) -> None:
        self._settings = settings
        self._acknowledge_seconds = acknowledge_seconds
        self._session: _Session | None = None
        self._starting = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self._log = get_logger()

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaUnavailable: no broker answered in time.
        """
        try:
            async with asyncio.timeout(self._acknowledge_seconds):
                await self._current()
        except TimeoutError as error:
            raise self._unavailable(0) from error

    async def stop(self) -> None:
        """Disconnect; what is not acknowledged by now was never promised."""
        await self.rebuild()
        if self._closing:
            await asyncio.wait(self._closing)

    async def rebuild(self) -> None:
        """Close the session, for instance because the cluster's topics have new ids; the next send opens another."""
        if self._session is not None:
            self._retire(self._session)

    async def send(self, record: Outgoing, *, deadline_seconds: float | None = None) -> None:
        """Publish one record; see `send_all`."""
        await self.send_all((record,), deadline_seconds=deadline_seconds)

    async def send_all(self, records: Sequence[Outgoing], *, deadline_seconds: float | None = None) -> None:
        """Publish `records`, in order within each partition, and return when all are acknowledged.

        Raises:
            RecordTooLarge: one is over MAX_MESSAGE_BYTES (then none was sent) or over what its topic takes.
            TopicRefused: a topic does not exist or may not be written.
            KafkaUnavailable: not all were acknowledged within the deadline; any of them may have arrived.
        """
        for record in records:
            self.check_size(record)
        pending: Sequence[Outgoing] = records
        deadline = asyncio.get_running_loop().time() + (deadline_seconds or self._acknowledge_seconds)
        tries = 0
        while pending:
            tries += 1
            pending = await self._attempt(pending, deadline, tries)

    def check_size(self, record: Outgoing) -> None:
        """Refuse a record that Kafka would refuse: there it would break the session for everybody.

        Raises:
            RecordTooLarge: the record is over MAX_MESSAGE_BYTES.
        """
        size = DefaultRecordBatchBuilder.estimate_size_in_bytes(record.key, record.value, list(record.headers))
        if size > self._settings.max_message_bytes:
            raise RecordTooLarge(
                f"a record of {size} bytes for {record.topic} is over the limit of "
                f"{self._settings.max_message_bytes} bytes (STEPWIRE_MAX_MESSAGE_BYTES)."
            )

    async def _attempt(self, records: Sequence[Outgoing], deadline: float, tries: int) -> list[Outgoing]:
        """Send once and return what has to be sent again."""
        attempt = _Attempt(records)
        session = self._session
        try:
            if session is None or not session.knows(records):
                async with asyncio.timeout_at(deadline):
                    session = await self._current()
                    await attempt.prepare(session)
            await attempt.run(session, deadline)
        except TimeoutError as error:
            raise self._unavailable(len(records)) from error
        if attempt.error is not None:
            await self._recover(session, attempt, deadline, tries)
        return attempt.unacknowledged

    async def _recover(self, session: _Session, attempt: _Attempt, deadline: float, tries: int) -> None:
        """Make the next attempt possible, or raise what makes it pointless."""
        error, records = attempt.error, attempt.unacknowledged
        if isinstance(error, _REFUSED):
            raise TopicRefused(f"Kafka refused a record for {records[0].topic}: {error}.") from error
        if self._retire(session):
            self._log.warning("The session with Kafka is replaced.", action="replace", reason=repr(error))
        if isinstance(error, _TOO_LARGE) and tries >= SIZE_TRIES:
            raise RecordTooLarge(f"the topic {records[0].topic} takes no record of this size: {error}.") from error
        if asyncio.get_running_loop().time() >= deadline:
            raise self._unavailable(len(records)) from error
        await asyncio.sleep(BACKOFF_SECONDS)

    async def _current(self) -> _Session:
        if self._session is not None:
            return self._session
        async with self._starting:
            while self._session is None:
                self._session = await self._connect()
        return self._session

    async def _connect(self) -> _Session | None:
        inner = AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka_bootstrap,
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=BATCH_BYTES,
            max_request_size=self._settings.max_message_bytes,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            partitioner=_partition,
        )
        try:
            await inner.start()
        except (KafkaError, OSError) as error:
            await inner.stop()
            self._log.warning("Kafka does not answer.", action="connect", reason=str(error))
            await asyncio.sleep(BACKOFF_SECONDS)
            return None
        except asyncio.CancelledError:
            await inner.stop()
            raise
        return _Session(inner)

    def _retire(self, session: _Session) -> bool:
        """Take `session` out of use; only the first of those who met its failure closes it."""
        if self._session is not session:
            return False
        self._session = None
        task = asyncio.create_task(session.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return True

    def _unavailable(self, count: int) -> KafkaUnavailable:
        return KafkaUnavailable(
            f"Kafka at {self._settings.kafka_bootstrap} did not acknowledge {count} records in time; "
            "they may be sent again."
        )


class _Session:
    """One idempotent producer, and the acknowledgements that are waited for."""

    def __init__(self, inner: AIOKafkaProducer) -> None:
        self._inner = inner
        self._topics: set[str] = set()
        self._pending: dict[Acknowledgement, float] = {}
        self._tick: asyncio.TimerHandle | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()

    def knows(self, records: Sequence[Outgoing]) -> bool:
        """Whether sending needs not wait for Kafka to tell about a topic."""
        return all(record.topic in self._topics for record in records)

    async def learn(self, topic: str) -> None:
        """Ask Kafka about a topic; one that does not exist is asked for again and again."""
        await self._inner.partitions_for(topic)
        self._topics.add(topic)

    async def hand_over(self, record: Outgoing) -> Acknowledgement:
        """Give the record to the producer; the future is its acknowledgement."""
        future: Acknowledgement = await self._inner.send(
            record.topic, value=record.value, key=record.key, headers=list(record.headers)
        )
        return future

    def by_partition(self, records: Sequence[Outgoing]) -> dict[TopicPartition, list[int]]:
        """Places in `records` of those that go into each partition, in their order."""
        topics = {record.topic for record in records}
        partitions = {topic: sorted(self._inner.client.cluster.partitions_for_topic(topic)) for topic in topics}
        places: dict[TopicPartition, list[int]] = {}
        for at, record in enumerate(records):
            every = partitions[record.topic]
            target = TopicPartition(record.topic, _partition(record.key, every, every))
            places.setdefault(target, []).append(at)
        return places

    async def hand_over_batch(self, target: TopicPartition, records: Sequence[Outgoing]) -> list[Acknowledgement]:
        """Give records of one partition to the producer as whole batches; those of one batch share an answer."""
        answers: list[Acknowledgement] = []
        while len(answers) < len(records):
            batch = self._inner.create_batch()
            for record in records[len(answers) :]:
                headers = list(record.headers)
                if batch.append(timestamp=None, key=record.key, value=record.value, headers=headers) is None:
                    break
            future = await self._inner.send_batch(batch, target.topic, partition=target.partition)
            answers += [future] * batch.record_count()
        return answers

    async def answers(self, futures: Sequence[Acknowledgement], deadline: float) -> None:
        """Return when all `futures` are done: acknowledged, failed, past `deadline`, or the session is closed."""
        for future in futures:
            self._pending[future] = deadline
        if self._closed:
            # It was closed while a record waited for its turn: nobody would ever answer.
            self._fail(futures, ProducerClosed)
        elif self._tick is None:
            self._tick = self._loop.call_later(TICK_SECONDS, self._look_at_deadlines)
        try:
            for future in futures:
                # The failure stays in the future, where the attempt looks for it.
                with suppress(KafkaError):
                    await future
        finally:
            for future in futures:
                self._pending.pop(future, None)

    def _look_at_deadlines(self) -> None:
        """One timer for all: a timer per record costs as much as sending it."""
        now = self._loop.time()
        self._fail([future for future, deadline in self._pending.items() if deadline <= now], KafkaTimeoutError)
        again = bool(self._pending)
        self._tick = self._loop.call_later(TICK_SECONDS, self._look_at_deadlines) if again else None

    def _fail(self, futures: Sequence[Acknowledgement], error: type[KafkaError]) -> None:
        for future in futures:
            if not future.done():
                future.set_exception(error())

    async def close(self) -> None:
        """Close without flushing: an idempotent producer without a broker flushes for ever."""
        self._closed = True
        if self._tick is not None:
            self._tick.cancel()
        self._inner._closed = True  # noqa: SLF001  # its own stop() would flush first
        sender = self._inner._sender.sender_task  # noqa: SLF001  # the same
        if sender is not None:
            sender.cancel()
        await self._inner.client.close()
        # With the connections gone nothing more is sent, so whoever waits may send again elsewhere.
        self._fail(list(self._pending), ProducerClosed)
        if sender is not None:
            await _ended(sender)


async def _ended(sender: asyncio.Task[None]) -> None:
    """Wait for the sender, which lets its requests end first: one may wait for metadata that will never come."""
    for _ in range(SENDER_CANCELS):
        await asyncio.wait([sender], timeout=SENDER_SECONDS)
        if sender.done():
            return
        sender.cancel()


class _Attempt:
    """One try to publish some records; knows afterwards which are not acknowledged, and why."""

    def __init__(self, records: Sequence[Outgoing]) -> None:
        self._records = records
        self._futures: list[Acknowledgement | None] = []
        self.error: Exception | None = None

    @property
    def unacknowledged(self) -> list[Outgoing]:
        """Records without an acknowledgement, in their order."""
        if self.error is None:
            return []
        answers = itertools.zip_longest(self._records, self._futures)
        return [record for record, future in answers if future is None or _problem(future)]

    async def prepare(self, session: _Session) -> None:
        """Let the session know the topics."""
        try:
            for topic in {record.topic for record in self._records}:
                await session.learn(topic)
        except KafkaError as error:
            self.error = error

    async def run(self, session: _Session, deadline: float) -> None:
        """Send all and wait for every answer; the first failure is kept in `error`."""
        if self.error is not None:
            return
        try:
            await self._hand_over(session)
        except KafkaError as error:
            self.error = error
        futures = [future for future in dict.fromkeys(self._futures) if future is not None]
        await session.answers(futures, deadline)
        problems = (_problem(future) for future in futures)
        self.error = self.error or next((problem for problem in problems if problem is not None), None)

    async def _hand_over(self, session: _Session) -> None:
        if len(self._records) < BULK:
            for record in self._records:
                self._futures.append(await session.hand_over(record))
            return
        self._futures = [None] * len(self._records)
        parts = session.by_partition(self._records).items()
        failed = await asyncio.gather(*(self._hand_over_part(session, *part) for part in parts), return_exceptions=True)
        for error in failed:
            if error is not None:
                raise error

    async def _hand_over_part(self, session: _Session, target: TopicPartition, places: list[int]) -> None:
        answers = await session.hand_over_batch(target, [self._records[at] for at in places])
        for at, answer in zip(places, answers, strict=True):
            self._futures[at] = answer


def _problem(future: Acknowledgement) -> Exception | None:
    problem = future.exception()
    return problem if problem is None or isinstance(problem, Exception) else KafkaUnavailable(repr(problem))
