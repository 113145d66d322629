"""A coordinator's own beats: only who saw the database all the time may say that others were silent."""

from __future__ import annotations

import asyncio
import os
import socket
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from stepwire.chassis.direct import DATABASE_ERRORS
from stepwire.chassis.service import Chassis

BEAT_SECONDS = 1.0
GAP_SECONDS = 3.0
BEAT = text("""
INSERT INTO stepwire_engine.coordinators AS c (coordinator, name) VALUES (:coordinator, :name)
ON CONFLICT (coordinator) DO UPDATE SET beat_at = clock_timestamp(),
    steady_since = CASE WHEN c.beat_at < clock_timestamp() - make_interval(secs => :gap)
        THEN clock_timestamp() ELSE c.steady_since END
RETURNING beat_at, steady_since
""")
LEAVE = text("DELETE FROM stepwire_engine.coordinators WHERE coordinator = :coordinator")


class Beat:
    """Writes once a second; knows for how long it could do so without a gap.

    Everything is measured by the database's clock: an outage, a suspended machine and a clock that was set all look
    like a gap there, and after a gap everybody gets one full lease.
    """

    def __init__(self, chassis: Chassis) -> None:
        """Beat for this instance of the service."""
        self._chassis = chassis
        self._id = UUID(chassis.instance)
        self._seen: tuple[datetime, datetime] | None = None
        self._at = float("-inf")

    def steady_seconds(self) -> float:
        """For how long this coordinator has seen the database without a gap; 0 in one."""
        if self._seen is None or asyncio.get_running_loop().time() - self._at > GAP_SECONDS:
            return 0.0
        beat_at, steady_since = self._seen
        return max(0.0, (beat_at - steady_since).total_seconds())

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            try:
                async with asyncio.timeout(GAP_SECONDS):
                    await self.beat()
            except DATABASE_ERRORS as error:
                self._chassis.log.warning("The database did not take a beat.", action="beat", error=str(error))
            await asyncio.sleep(BEAT_SECONDS)

    async def beat(self) -> None:
        """Beat once."""
        name = f"{socket.gethostname()}:{os.getpid()}"
        values = {"coordinator": self._id, "name": name, "gap": GAP_SECONDS}
        async with self._chassis.engine.begin() as connection:
            row = (await connection.execute(BEAT, values)).one()
        self._seen = (row[0], row[1])
        self._at = asyncio.get_running_loop().time()

    async def leave(self) -> None:
        """Say that this coordinator is gone."""
        try:
            async with asyncio.timeout(GAP_SECONDS), self._chassis.engine.begin() as connection:
                await connection.execute(LEAVE, {"coordinator": self._id})
        except DATABASE_ERRORS as error:
            self._chassis.log.info("The database was not told the end.", action="beat", error=str(error))
