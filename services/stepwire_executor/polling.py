"""Reading step.commands: decoding, dead letters, pauses and offsets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import ValidationError
from structlog.typing import FilteringBoundLogger

from stepwire.chassis.errors import ChassisError
from stepwire.chassis.offsets import OffsetCommitter
from stepwire.contracts.base import flaws_of
from stepwire.contracts.reasons import DeadLetter
from stepwire.contracts.steps import RunSteps, decode_run
from stepwire_executor.dead_letters import DeadLetters

RETRY_SECONDS = 0.5
PATIENCE_SECONDS = 0.25
"""A poll that takes so much longer than it was given is held up by a rebalance."""

Polled = Mapping[TopicPartition, Sequence[ConsumerRecord[Any, Any]]]
Fetched = tuple[Polled, list[RunSteps]]


class Poller(ConsumerRebalanceListener):  # type: ignore[misc] # published without types
    """The consumer's side of fetching; a `getmany` under way is never cancelled.

    A member that was killed holds up the whole group until its session has ended: whoever joins, or polls, waits.
    So a poll is a task that may outlive the call which began it, and PostgreSQL is asked for runs meanwhile.
    """

    def __init__(
        self,
        make_consumer: Callable[[], AIOKafkaConsumer],
        topics: Iterable[str],
        dead_letters: DeadLetters,
        log: FilteringBoundLogger,
    ) -> None:
        self._make_consumer = make_consumer
        self.topics = list(topics)
        self._dead_letters = dead_letters
        self._log = log
        self._consumer: AIOKafkaConsumer = None
        self._offsets: OffsetCommitter | None = None
        self._paused = False
        self._polling: asyncio.Task[Fetched] | None = None
        self._polled: Polled = {}
        self.polled_at = time.monotonic()
        self.reopen = False
        """Set when the topics are other ones than before: the next poll begins with a new consumer."""

    async def start(self) -> None:
        """Connect, and begin to join the group."""
        self._consumer = self._make_consumer()
        self._offsets = OffsetCommitter(self._consumer)
        await start_patiently(self._consumer, self._log)
        # Not before: a start with topics would wait for the group.
        self._consumer.subscribe(topics=self.topics, listener=self)

    async def stop(self) -> None:
        """Commit what was taken and leave the group."""
        if self._offsets is not None:
            await self._offsets.flush()
            await self._consumer.stop()

    async def close(self) -> None:
        """Stop for good: a poll that is still held up gets no answer any more."""
        await self.stop()
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait({self._polling})

    async def lag(self) -> dict[TopicPartition, tuple[int, int]]:
        """Position and number of records behind it, of each assigned partition; raises when Kafka does not answer."""
        ours = list(self._consumer.assignment())
        ends = await self._consumer.end_offsets(ours) if ours else {}
        places = {partition: await self._consumer.position(partition) for partition in ends}
        return {partition: (place, max(0, ends[partition] - place)) for partition, place in places.items()}

    async def poll(self, most: int, timeout_seconds: float) -> list[RunSteps]:
        """Read up to `most` records; what cannot be read is put aside before anything else of the poll is taken.

        Nothing is returned of a poll that is held up; the next call goes on with it.
        """
        if not await self._go_on(lambda: self._poll(most, timeout_seconds), timeout_seconds):
            return []
        polling, self._polling = self._polling, None
        self._polled, runs = ({}, []) if polling is None else polling.result()
        return runs

    def taken(self) -> None:
        """The last poll is dealt with: its offsets may be committed, for every record, claimed or not."""
        if self._polled and self._offsets is not None:
            self._offsets.done({at: records[-1].offset + 1 for at, records in self._polled.items()})
            self._polled = {}

    async def keep_alive(self) -> None:
        """Stay in the group without reading anything: there is no room."""
        if await self._go_on(self._stay, 0) and self._polling is not None and not self._polling.result()[0]:
            self._polling = None

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Nothing is to be done: records that come again find their claims taken."""

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Pause again: a rebalance forgets it."""
        if self._paused:
            self._consumer.pause(*assigned)

    async def _go_on(self, begin: Callable[[], Coroutine[Any, Any, Fetched]], timeout_seconds: float) -> bool:
        """Go on with what is held up, else begin; says whether it has ended."""
        if self._polling is None:
            self._polling = asyncio.create_task(begin(), name="poll")
        await asyncio.wait({self._polling}, timeout=timeout_seconds + PATIENCE_SECONDS)
        return self._polling.done()

    async def _poll(self, most: int, timeout_seconds: float) -> Fetched:
        if self.reopen:
            self.reopen = False
            await self._begin_anew()
        self._resume()
        self.polled_at = time.monotonic()
        return await self._read(timeout_ms=int(timeout_seconds * 1000), max_records=most)

    async def _begin_anew(self) -> None:
        try:
            await self.stop()
        except KafkaError as error:
            self._log.info("The old consumer did not end well.", action="consumer", reason=repr(error))
        await self.start()

    async def _stay(self) -> Fetched:
        self._paused = True
        self._consumer.pause(*self._consumer.assignment())
        return await self._read(timeout_ms=0)

    async def _read(self, **options: int) -> Fetched:
        try:
            polled = await self._consumer.getmany(**options)
        except KafkaError as error:
            # A broker that goes in a bad moment ends the consumer's own tasks; it never comes back by itself.
            self._log.warning("The consumer broke; it is built anew.", action="consumer", reason=repr(error))
            self.reopen = True
            await asyncio.sleep(RETRY_SECONDS)
            return {}, []
        runs = [await self._decode(record) for records in polled.values() for record in records]
        return polled, [run for run in runs if run is not None]

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._consumer.resume(*self._consumer.paused())

    async def _decode(self, record: ConsumerRecord[Any, Any]) -> RunSteps | None:
        try:
            return decode_run(record.value or b"")
        except ValidationError as error:
            await self._put_aside(record, flaws_of(error))
            return None

    async def _put_aside(self, record: ConsumerRecord[Any, Any], detail: str) -> None:
        while True:
            try:
                await self._dead_letters.put(record, DeadLetter.MALFORMED, detail)
            except ChassisError as error:
                self._log.warning("A dead letter was not taken.", action="dead_letter", reason=str(error))
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return


async def start_patiently(consumer: AIOKafkaConsumer, log: FilteringBoundLogger) -> None:
    """Connect a consumer, however long it takes Kafka to come."""
    while True:
        try:
            await consumer.start()
        except (KafkaError, OSError) as error:
            log.warning("Kafka does not answer.", action="connect", reason=str(error))
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return
