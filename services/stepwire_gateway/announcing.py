"""Coordinators are told whose callbacks have been accepted: by the database, which they hear sooner than a record."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from stepwire.chassis.errors import ChassisError, RecordTooLarge
from stepwire.chassis.kafka import Outgoing, Producer
from stepwire.chassis.logging import get_logger
from stepwire.data import inbox
from stepwire_gateway.background import Background
from stepwire_gateway.database import Database, DatabaseAway
from stepwire_gateway.sending import WAKE_UP_SECONDS

# Of process ids of 36 characters; a notification has room for 8,000 bytes.
MOST_AT_ONCE = 200
# The records are for whoever missed the notification, and for a database that has forgotten what it had accepted.
GATHER_SECONDS = 0.2


class Announcer:
    """Announces callbacks that lie in the inbox, twice: at once by NOTIFY, then by records, some at a time."""

    def __init__(self, database: Database, producer: Producer, background: Background, stopping: asyncio.Event) -> None:
        self._stopping = stopping
        self._database = database
        self._producer = producer
        self._background = background
        self._untold: list[str] = []
        self._telling = False
        self._unsent: list[Outgoing] = []
        self._sending = False
        self._log = get_logger()

    def announce(self, process_id: str, record: Outgoing) -> None:
        """Announce one callback; where too much is under way, coordinators find it in the inbox by themselves."""
        self._untold.append(process_id)
        self._unsent.append(record)
        self._telling = self._telling or self._background.start(self._tell())
        self._sending = self._sending or self._background.start(self._send())
        if not self._telling:
            self._untold.clear()
        if not self._sending:
            self._unsent.clear()

    async def _tell(self) -> None:
        """One notification at a time tells of all that came during the one before."""
        try:
            while self._untold:
                ids, self._untold = self._untold[:MOST_AT_ONCE], self._untold[MOST_AT_ONCE:]
                await self._tell_of(ids)
        finally:
            self._telling = False

    async def _tell_of(self, process_ids: list[str]) -> None:
        try:
            await self._database.do(lambda connection: inbox.announce(connection, process_ids))
        except DatabaseAway:
            # Told by the database module; the records follow.
            return

    async def _send(self) -> None:
        try:
            while self._unsent:
                with suppress(TimeoutError):
                    async with asyncio.timeout(GATHER_SECONDS):
                        await self._stopping.wait()
                records, self._unsent = self._unsent, []
                await self._send_all(records)
        finally:
            self._sending = False

    async def _send_all(self, records: list[Outgoing]) -> None:
        try:
            await self._producer.send_all(records, deadline_seconds=WAKE_UP_SECONDS)
        except RecordTooLarge as error:
            if len(records) == 1:
                self._tell_unsent(records, error)
            else:
                # Of those sent with one that is too large none has been taken.
                await asyncio.gather(*(self._send_all([record]) for record in records))
        except ChassisError as error:
            self._tell_unsent(records, error)

    def _tell_unsent(self, records: list[Outgoing], error: ChassisError) -> None:
        self._log.warning(
            "Callbacks were not announced by records, but by the database alone.",
            action="wake_up",
            callbacks=len(records),
            reason=str(error),
        )
