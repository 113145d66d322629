"""Reading step.commands: decoding, dead letters, pauses and offsets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from pydantic import ValidationError
from structlog.typing import FilteringBoundLogger

from stepwire.chassis.errors import ChassisError
from stepwire.contracts.reasons import DeadLetter
from stepwire.contracts.steps import RunSteps, decode_run
from stepwire_executor.dead_letters import DeadLetters
from stepwire_executor.offsets import Offsets

RETRY_SECONDS = 0.5

Polled = Mapping[TopicPartition, Sequence[ConsumerRecord[Any, Any]]]


class Poller(ConsumerRebalanceListener):  # type: ignore[misc] # published without types
    """The consumer's side of fetching; a `getmany` under way is never cancelled."""

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
        self._offsets: Offsets | None = None
        self._paused = False
        self._polled: Polled = {}
        self.polled_at = time.monotonic()
        self.reopen = False
        """Set when the topics are other ones than before: the next poll begins with a new consumer."""

    async def start(self) -> None:
        """Connect and join the group."""
        self._consumer = self._make_consumer()
        self._offsets = Offsets(self._consumer, self._log)
        self._consumer.subscribe(topics=self.topics, listener=self)
        await self._consumer.start()

    async def stop(self) -> None:
        """Commit what was taken and leave the group."""
        if self._offsets is not None:
            await self._offsets.settle()
            await self._consumer.stop()

    async def lag(self) -> dict[TopicPartition, tuple[int, int]]:
        """Position and number of records behind it, of each assigned partition; raises when Kafka does not answer."""
        ours = list(self._consumer.assignment())
        ends = await self._consumer.end_offsets(ours) if ours else {}
        places = {partition: await self._consumer.position(partition) for partition in ends}
        return {partition: (place, max(0, ends[partition] - place)) for partition, place in places.items()}

    async def poll(self, most: int, timeout_seconds: float) -> list[RunSteps]:
        """Read up to `most` records; what cannot be read is put aside before anything else of the poll is taken."""
        if self.reopen:
            self.reopen = False
            await self.stop()
            await self.start()
        self._resume()
        self.polled_at = time.monotonic()
        self._polled = await self._consumer.getmany(timeout_ms=int(timeout_seconds * 1000), max_records=most)
        runs = [await self._decode(record) for records in self._polled.values() for record in records]
        return [run for run in runs if run is not None]

    def taken(self) -> None:
        """The last poll is dealt with: its offsets may be committed, for every record, claimed or not."""
        if self._polled and self._offsets is not None:
            self._offsets.taken(self._polled)
            self._polled = {}

    async def keep_alive(self) -> None:
        """Stay in the group without reading anything: there is no room."""
        self._paused = True
        self._consumer.pause(*self._consumer.assignment())
        await self._consumer.getmany(timeout_ms=0)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Nothing is to be done: records that come again find their claims taken."""

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Pause again: a rebalance forgets it."""
        if self._paused:
            self._consumer.pause(*assigned)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._consumer.resume(*self._consumer.paused())

    async def _decode(self, record: ConsumerRecord[Any, Any]) -> RunSteps | None:
        try:
            return decode_run(record.value or b"")
        except ValidationError as error:
            await self._put_aside(record, str(error))
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
