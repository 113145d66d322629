"""Events wait in the outbox until Kafka has them; what a coordinator left behind is relayed by another."""

from __future__ import annotations

import asyncio

from sqlalchemy import text

from stepwire.chassis.direct import DATABASE_ERRORS
from stepwire.chassis.kafka import Outgoing
from stepwire.chassis.service import Chassis
from stepwire.contracts import topics
from stepwire_coordinator.packing import unpack
from stepwire_coordinator.publishing import PUBLISHED, Publisher

# Taken for half a minute instead of held by a lock: a transaction must not wait for Kafka.
LEFT_BEHIND = text("""
UPDATE stepwire_engine.outbox SET due_at = clock_timestamp() + interval '30 seconds'
WHERE id IN (
    SELECT id FROM stepwire_engine.outbox WHERE due_at <= clock_timestamp()
    ORDER BY due_at LIMIT 8 FOR UPDATE SKIP LOCKED)
RETURNING id, records, created_at
""")
GIVEN_BACK = text("""
UPDATE stepwire_engine.outbox SET due_at = clock_timestamp() + interval '2 seconds'
WHERE id = ANY(CAST(:ids AS uuid[]))
""")


class Relay:
    """Publishes what nobody has published within five seconds."""

    def __init__(self, chassis: Chassis, publisher: Publisher) -> None:
        """Use the service's database and publisher."""
        self._chassis = chassis
        self._publisher = publisher
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Something in the outbox is due."""
        self._woken.set()

    async def run(self) -> None:
        """Relay whenever woken, until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                while not self._publisher.away and await self.relay():
                    continue
            except DATABASE_ERRORS as error:
                self._chassis.log.warning("The outbox was not relayed.", action="outbox", error=str(error))

    async def relay(self) -> int:
        """Publish a few batches; returns how many Kafka took."""
        async with self._chassis.engine.begin() as connection:
            rows = (await connection.execute(LEFT_BEHIND)).all()
        sent = [row[0] for row in sorted(rows, key=lambda row: row[2]) if await self._send(unpack(row[1]))]
        failed = [row[0] for row in rows if row[0] not in sent]
        async with self._chassis.engine.begin() as connection:
            await connection.execute(PUBLISHED, {"ids": sent})
            await connection.execute(GIVEN_BACK, {"ids": failed})
        if sent:
            self._chassis.log.info("Events left behind were published.", action="relayed", batches=len(sent))
        return len(sent)

    async def _send(self, records: list[Outgoing]) -> bool:
        if self._publisher.away:
            return False
        ours = [record for record in records if self._is_ours(record.topic)]
        theirs = [record for record in records if not self._is_ours(record.topic)]
        return await self._publisher.send_ours(ours) and await self._publisher.send_theirs(theirs)

    def _is_ours(self, topic: str) -> bool:
        return topics.is_ours(topic.removeprefix(self._chassis.settings.topic_prefix))
