"""A producer whose every wait for an acknowledgement ends, and that outlives a broken idempotent session."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from stepwire.chassis.errors import KafkaUnavailable, RecordTooLarge, TopicRefused
from stepwire.chassis.kafka_session import Acknowledgement, Outgoing, Session, partition_of
from stepwire.chassis.logging import get_logger
from stepwire.chassis.settings import Settings

ACKNOWLEDGE_SECONDS = 30.0
REQUEST_TIMEOUT_MS = 10_000
METADATA_MAX_AGE_MS = 5000
BATCH_BYTES = 128 * 1024
BACKOFF_SECONDS = 0.2
# A batch also holds records of others: only one that is refused again and again is itself at fault.
SIZE_TRIES = 3
# From so many records on it pays to fill a partition's batch ourselves instead of awaiting a future per record.
BULK = 32

_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
_REFUSED = (InvalidTopicError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError)


class Producer:
    """Publishes with acks=all, idempotently, and returns only when everything is acknowledged.

    An idempotent session that failed once refuses all later records of that partition, so it is closed,
    replaced, and what was not acknowledged is sent again: a record may arrive twice, never not at all.
    """

    def __init__(self, settings: Settings, *, acknowledge_seconds: float = ACKNOWLEDGE_SECONDS) -> None:
        self._settings = settings
        self._acknowledge_seconds = acknowledge_seconds
        self._session: Session | None = None
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

    async def _recover(self, session: Session, attempt: _Attempt, deadline: float, tries: int) -> None:
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

    async def _current(self) -> Session:
        if self._session is not None:
            return self._session
        async with self._starting:
            while self._session is None:
                self._session = await self._connect()
        return self._session

    async def _connect(self) -> Session | None:
        inner = AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka_bootstrap,
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=BATCH_BYTES,
            max_request_size=self._settings.max_message_bytes,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            partitioner=partition_of,
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
        return Session(inner)

    def _retire(self, session: Session) -> bool:
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

    async def prepare(self, session: Session) -> None:
        """Let the session know the topics."""
        try:
            for topic in {record.topic for record in self._records}:
                await session.learn(topic)
        except KafkaError as error:
            self.error = error

    async def run(self, session: Session, deadline: float) -> None:
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

    async def _hand_over(self, session: Session) -> None:
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

    async def _hand_over_part(self, session: Session, target: TopicPartition, places: list[int]) -> None:
        answers = await session.hand_over_batch(target, [self._records[at] for at in places])
        for at, answer in zip(places, answers, strict=True):
            self._futures[at] = answer


def _problem(future: Acknowledgement) -> Exception | None:
    problem = future.exception()
    return problem if problem is None or isinstance(problem, Exception) else KafkaUnavailable(repr(problem))
