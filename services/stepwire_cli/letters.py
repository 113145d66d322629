"""Dead letters in Kafka, and in PostgreSQL what operators did about them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stepwire.chassis import kafka
from stepwire.chassis.settings import Settings
from stepwire.contracts import topics
from stepwire_cli.reading import connected, make_engine

SUFFIX = topics.dead_letters("")
POLL_MS = 500
# Said by who made it a dead letter; everything else came with the record.
_ABOUT = frozenset({"x-error", "x-topic", "x-partition", "x-offset", "x-time", "x-length"})

_ACTIONS = text(
    """
    SELECT topic_id, partition, "offset", action, reason, done_by, begun_at, done_at
    FROM stepwire_engine.dead_letter_actions WHERE topic_id = ANY (CAST(:ids AS text[])) ORDER BY id
    """
)
_BEGIN = text(
    """
    INSERT INTO stepwire_engine.dead_letter_actions (topic_id, partition, "offset", topic, action, reason, done_by)
    VALUES (:topic_id, :partition, :offset, :topic, :action, :reason, :done_by) RETURNING id
    """
)
_END = text("UPDATE stepwire_engine.dead_letter_actions SET done_at = clock_timestamp() WHERE id = :id")


class Action(NamedTuple):
    """What somebody did about a letter; `done_at` is None if it is not known to have been done."""

    action: str
    reason: str | None
    done_by: str
    begun_at: datetime
    done_at: datetime | None


@dataclass(frozen=True)
class Letter:
    """One dead letter; `topic` is its plain name, without prefix and `.dlq`."""

    topic: str
    partition: int
    offset: int
    topic_id: str
    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    timestamp_ms: int
    actions: Sequence[Action] = field(default=())

    @property
    def id(self) -> str:
        """What operators call it."""
        return f"{topics.dead_letters(self.topic)}:{self.partition}:{self.offset}"

    @property
    def error(self) -> str:
        """The word that says what was wrong with it."""
        return self.header("x-error")

    @property
    def cut(self) -> bool:
        """Whether it was too large to be kept whole."""
        return bool(self.header("x-length"))

    @property
    def own_headers(self) -> list[tuple[str, bytes]]:
        """The headers it came with."""
        return [(name, value) for name, value in self.headers if name not in _ABOUT]

    def header(self, name: str) -> str:
        """The text of a header, empty where there is none."""
        return next((value.decode(errors="replace") for known, value in self.headers if known == name), "")

    def was(self, action: str) -> Action | None:
        """The last time this was done to it."""
        return next((each for each in reversed(self.actions) if each.action == action), None)


class Place(NamedTuple):
    """Where a letter is."""

    topic: str
    partition: int
    offset: int


class Letters:
    """The dead letters of one installation."""

    def __init__(self, settings: Settings, engine: AsyncEngine, consumer: AIOKafkaConsumer) -> None:
        self._settings = settings
        self._engine = engine
        self._consumer = consumer

    async def topics(self) -> list[str]:
        """Plain names of the topics that have a twin for dead letters."""
        prefix = self._settings.topic_prefix
        found = await self._consumer.topics()
        plain = [name[len(prefix) :].removesuffix(SUFFIX) for name in found if _is_letter_box(name, prefix)]
        return sorted(name for name in plain if topics.is_ours(name))

    async def newest(self, topic_names: Iterable[str], limit: int) -> list[Letter]:
        """The newest `limit` letters of each partition, the newest of all first."""
        spans = {}
        for at in await self._partitions(topic_names):
            first, end = await self._ends(at)
            if end > first:
                spans[at] = (max(first, end - limit), end)
        return await self._read(spans)

    async def at(self, places: Sequence[Place]) -> list[Letter]:
        """The letters at these places; those that are gone are left out."""
        found = []
        partitions = set(await self._partitions({place.topic for place in places}))
        for place in places:
            at = TopicPartition(self._box(place.topic), place.partition)
            # Beyond its ends a partition would be read for ever, from wherever Kafka goes on.
            if at in partitions and await self._has(at, place.offset):
                found += await self._read({at: (place.offset, place.offset + 1)})
        return [letter for letter in found if Place(letter.topic, letter.partition, letter.offset) in places]

    async def _has(self, at: TopicPartition, offset: int) -> bool:
        first, end = await self._ends(at)
        return first <= offset < end

    async def _ends(self, at: TopicPartition) -> tuple[int, int]:
        first, end = await self._consumer.beginning_offsets([at]), await self._consumer.end_offsets([at])
        return first[at], end[at]

    async def begin(self, letter: Letter, action: str, done_by: str, reason: str | None = None) -> int:
        """Write down that somebody is about to do something; returns the number of the note."""
        values = {
            "topic_id": letter.topic_id,
            "partition": letter.partition,
            "offset": letter.offset,
            "topic": letter.topic,
        }
        async with self._writing() as connection:
            row = await connection.execute(_BEGIN, {**values, "action": action, "reason": reason, "done_by": done_by})
            return int(row.scalar_one())

    async def end(self, number: int) -> None:
        """Write down that it is done."""
        async with self._writing() as connection:
            await connection.execute(_END, {"id": number})

    def original_topic(self, letter: Letter) -> str:
        """The full name of the topic it came from."""
        return self._settings.topic(letter.topic)

    def _box(self, topic: str) -> str:
        return self._settings.topic(topics.dead_letters(topic))

    async def _partitions(self, topic_names: Iterable[str]) -> list[TopicPartition]:
        # A consumer that has subscribed to nothing knows no partitions.
        found = await kafka.describe_topics(self._settings, [self._box(name) for name in topic_names])
        return [TopicPartition(name, number) for name, facts in found.items() for number in range(facts.partitions)]

    async def _read(self, spans: Mapping[TopicPartition, tuple[int, int]]) -> list[Letter]:
        """The records of each partition from its first to before its last offset."""
        if not spans:
            return []
        self._consumer.assign(list(spans))
        for at, (first, _) in spans.items():
            self._consumer.seek(at, first)
        records = [record async for record in self._until(spans)]
        ids = await kafka.topic_ids(self._settings.kafka_bootstrap, {at.topic for at in spans})
        actions = await self._actions(list(ids.values()))
        letters = [self._letter(record, ids[record.topic], actions) for record in records if record.topic in ids]
        return sorted(letters, key=lambda letter: letter.timestamp_ms, reverse=True)

    async def _until(
        self, spans: Mapping[TopicPartition, tuple[int, int]]
    ) -> AsyncIterator[ConsumerRecord[bytes, bytes]]:
        ends = {at: end for at, (_, end) in spans.items()}
        while ends:
            batches = await self._consumer.getmany(*ends, timeout_ms=POLL_MS)
            for at, records in batches.items():
                for record in records:
                    if record.offset < ends[at]:
                        yield record
            # Offsets may be missing: where nothing comes the position tells that the end is reached.
            reached = [at for at, end in ends.items() if await self._consumer.position(at) >= end]
            for at in reached:
                del ends[at]

    def _letter(
        self, record: ConsumerRecord[bytes, bytes], topic_id: str, actions: Mapping[tuple[Any, ...], list[Action]]
    ) -> Letter:
        plain = record.topic[len(self._settings.topic_prefix) :].removesuffix(SUFFIX)
        place = (record.partition, record.offset)
        done = actions.get((topic_id, *place), [])
        headers = tuple(record.headers)
        return Letter(plain, *place, topic_id, record.key, record.value or b"", headers, record.timestamp, done)

    async def _actions(self, ids: Sequence[str]) -> dict[tuple[Any, ...], list[Action]]:
        found: dict[tuple[Any, ...], list[Action]] = {}
        async with self._writing() as connection:
            for topic_id, partition, offset, *action in await connection.execute(_ACTIONS, {"ids": list(ids)}):
                found.setdefault((topic_id, partition, offset), []).append(Action(*action))
        return found

    def _writing(self) -> AbstractAsyncContextManager[AsyncConnection]:
        return connected(self._engine, self._settings)


@asynccontextmanager
async def open_letters(settings: Settings) -> AsyncIterator[Letters]:
    """The dead letters that Kafka has now.

    Raises:
        Unreachable: Kafka does not answer.
    """
    engine = make_engine(settings)
    consumer = kafka.make_consumer(settings, group=None)
    try:
        await consumer.start()
        yield Letters(settings, engine, consumer)
    except (KafkaError, OSError, TimeoutError) as error:
        raise kafka.unreachable(settings.kafka_bootstrap, error) from error
    finally:
        await consumer.stop()
        await engine.dispose()


def _is_letter_box(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and name.endswith(SUFFIX)
