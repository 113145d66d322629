"""Results on their way to Kafka: what is ready at the same moment travels together."""

from __future__ import annotations

import asyncio

from structlog.typing import FilteringBoundLogger

from stepwire.chassis.errors import ChassisError, KafkaUnavailable, TopicRefused
from stepwire.chassis.kafka import Outgoing, Producer
from stepwire.contracts.tracing import Headers

RETRY_SECONDS = 0.2
Waiting = list[tuple[Outgoing, asyncio.Future[None]]]


class Publisher:
    """Publishes to one topic; a future is done when Kafka has acknowledged its record."""

    def __init__(self, producer: Producer, topic: str, log: FilteringBoundLogger) -> None:
        self._producer = producer
        self._topic = topic
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._waiting: Waiting = []
        self._tasks: set[asyncio.Task[None]] = set()

    def publish(self, key: bytes, value: bytes, headers: Headers = ()) -> asyncio.Future[None]:
        """Send one record; the future raises `RecordTooLarge`, and waits while Kafka or its topic is away."""
        future: asyncio.Future[None] = self._loop.create_future()
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append((Outgoing(self._topic, value, key, headers), future))
        return future

    def _flush(self) -> None:
        batch, self._waiting = self._waiting, []
        task = self._loop.create_task(self._send(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, batch: Waiting) -> None:
        try:
            await self._send_until_taken([record for record, _ in batch])
        except ChassisError as error:
            if len(batch) > 1:
                # One of them is refused: the others must not share its fate.
                await asyncio.gather(*(self._send([one]) for one in batch))
            else:
                _settle(batch[0][1], error)
            return
        for _, future in batch:
            _settle(future, None)

    async def _send_until_taken(self, records: list[Outgoing]) -> None:
        while True:
            try:
                await self._producer.send_all(records)
            except (KafkaUnavailable, TopicRefused) as error:
                # A broker that has just begun does not know its topics yet: no result is to blame for that, and one
                # that is committed must not be reported as failed.
                self._log.warning(str(error), action="publish", records=len(records))
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return


def _settle(future: asyncio.Future[None], error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(None)
