"""Kafka as an upstream or outside system uses it: records in, events and dead letters out."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from stepwire.chassis.kafka import wanted_topics
from stepwire.chassis.settings import Settings
from stepwire.contracts import topics

WAIT_SECONDS = 20.0
POLL_MS = 100
DEAD = ".dlq"

T = TypeVar("T")
Event = dict[str, Any]


class Wire:
    """A producer and a consumer of everything that comes out, on a thread of their own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire", daemon=True)
        self._arrived = threading.Condition()
        self._stopping = False
        self._events: dict[str, list[Event]] = defaultdict(list)
        self._dead: dict[str, list[ConsumerRecord]] = defaultdict(list)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._open())
        self._reading = asyncio.run_coroutine_threadsafe(self._read(), self._loop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._reading.result(WAIT_SECONDS)
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def send(
        self,
        topic: str,
        value: bytes | Mapping[str, Any] | None,
        key: str | None = None,
        partition: int | None = None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        """Publish a record as it is, and return when it is acknowledged."""
        self.send_later(topic, value, key, partition, headers).result(WAIT_SECONDS)

    def send_later(
        self,
        topic: str,
        value: bytes | Mapping[str, Any] | None,
        key: str | None = None,
        partition: int | None = None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> Future[Any]:
        """Publish a record; the future tells when it is acknowledged."""
        raw = orjson.dumps(value) if isinstance(value, Mapping) else value
        name, encoded = self._settings.topic(topic), key.encode() if key is not None else None
        sent = self._producer.send_and_wait(name, raw, encoded, partition=partition, headers=headers)
        return asyncio.run_coroutine_threadsafe(sent, self._loop)

    def event(self, subject: str, fits: Callable[[Event], bool] = lambda _: True, *, after: int = 0) -> Event:
        """The first event about a subject (a process, or a command that has none) that fits, `after` so many."""
        return self._wait(
            lambda: next((e for e in self._events[subject][after:] if fits(e)), None), f"event: {subject}"
        )

    def answer(self, command_id: str, *, after: int = 0) -> Event:
        """The final answer to a command, `after` so many times that it was given before."""
        return self.event(f"answer:{command_id}", after=after)

    def answers(self, command_id: str) -> list[Event]:
        """All answers to a command so far."""
        with self._arrived:
            return list(self._events[f"answer:{command_id}"])

    def events(self, subject: str) -> list[Event]:
        """The events about a subject so far, in the order of their sequence, each once."""
        with self._arrived:
            by_id = {event["id"]: event for event in self._events[subject] if "sequence" in event}
        return sorted(by_id.values(), key=lambda event: event["sequence"])

    def dead(self, topic: str, fits: Callable[[ConsumerRecord], bool]) -> ConsumerRecord:
        """The first dead letter of a topic that fits."""
        found = self._settings.topic(topics.dead_letters(topic))
        return self._wait(lambda: next((r for r in self._dead[found] if fits(r)), None), f"dead letter of {topic}")

    def _wait(self, look: Callable[[], T | None], what: str) -> T:
        found: list[T] = []

        def there() -> bool:
            value = look()
            found.extend([] if value is None else [value])
            return bool(found)

        with self._arrived:
            if not self._arrived.wait_for(there, WAIT_SECONDS):
                raise TimeoutError(f"no {what} in time")
        return found[0]

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_SECONDS)

    async def _open(self) -> None:
        bootstrap = self._settings.kafka_bootstrap
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_request_size=16 * 1024 * 1024)
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=POLL_MS,
        )
        await self._producer.start()
        await self._consumer.start()
        names = [self._settings.topic(topics.PROCESS_EVENTS)]
        self._consumer.subscribe([*names, *(n for n in wanted_topics(self._settings) if n.endswith(DEAD))])

    async def _close(self) -> None:
        await self._producer.stop()
        await self._consumer.stop()

    async def _read(self) -> None:
        while not self._stopping:
            batches = await self._consumer.getmany(timeout_ms=POLL_MS)
            if batches:
                with self._arrived:
                    for records in batches.values():
                        for record in records:
                            self._keep(record)
                    self._arrived.notify_all()

    def _keep(self, record: ConsumerRecord) -> None:
        if record.topic.endswith(DEAD):
            self._dead[record.topic].append(record)
            return
        event = _event(record)
        if event is None:
            return
        self._events[event["subject"]].append(event)
        if event["type"] in ("stepwire.command.accepted", "stepwire.command.rejected"):
            self._events[f"answer:{event['data']['command_id']}"].append(event)


def _event(record: ConsumerRecord) -> Event | None:
    """The event in a record; None for poison that a test has put there."""
    try:
        event = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None
    return event if isinstance(event, dict) and "subject" in event else None


def error_of(record: ConsumerRecord) -> str:
    """The word that says why a record is a dead letter."""
    word: bytes = dict(record.headers)["x-error"]
    return word.decode()
