"""NOTIFY from the database: a command was written without a record."""

from __future__ import annotations

import asyncio

import asyncpg

from stepwire.chassis.database import CONNECT_SECONDS, keep_alive
from stepwire.chassis.direct import DATABASE_ERRORS
from stepwire.chassis.service import Chassis
from stepwire_coordinator.sweeping import Sweeper

CHANNEL = "stepwire_commands"
RETRY_SECONDS = 2.0


async def listen(chassis: Chassis, sweeper: Sweeper) -> None:
    """Wake the sweeper at every notification, until cancelled; without a connection it looks by itself."""
    # Closing a broken connection may fail in place of the cancellation that asked for it.
    while not chassis.stopping.is_set():
        try:
            await _listen_once(chassis, sweeper)
        except DATABASE_ERRORS as error:
            chassis.log.info("Not listening to the database.", action="listen", error=str(error))
            await asyncio.sleep(RETRY_SECONDS)


async def _listen_once(chassis: Chassis, sweeper: Sweeper) -> None:
    connection = await asyncpg.connect(
        chassis.settings.database_url,
        timeout=CONNECT_SECONDS,
        server_settings={"application_name": "stepwire-coordinator-listen"},
    )
    # A database whose machine is gone would be listened to for ever.
    keep_alive(connection._transport.get_extra_info("socket"))  # noqa: SLF001  # asyncpg has no public way to it
    ended = asyncio.Event()
    connection.add_termination_listener(lambda _: ended.set())
    try:
        await connection.add_listener(CHANNEL, lambda *_: sweeper.wake())
        await ended.wait()
    finally:
        await connection.close(timeout=2)
