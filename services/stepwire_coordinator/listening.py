"""NOTIFY from the database: something was written that no record announces, or none as soon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import asyncpg

from stepwire.chassis.database import CONNECT_SECONDS, keep_alive
from stepwire.chassis.direct import DATABASE_ERRORS
from stepwire.chassis.service import Chassis

RETRY_SECONDS = 2.0

Channels = Mapping[str, Callable[[str], None]]


async def listen(chassis: Chassis, channels: Channels) -> None:
    """Hand on what comes on each of these channels, until cancelled; without a connection the sweeper finds it."""
    # Closing a broken connection may fail in place of the cancellation that asked for it.
    while not chassis.stopping.is_set():
        try:
            await _listen_once(chassis, channels)
        except DATABASE_ERRORS as error:
            chassis.log.info("Not listening to the database.", action="listen", error=str(error))
            await asyncio.sleep(RETRY_SECONDS)


async def _listen_once(chassis: Chassis, channels: Channels) -> None:
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
        for channel in channels:
            await connection.add_listener(channel, lambda _, __, channel, payload: channels[channel](payload))
        await ended.wait()
    finally:
        await connection.close(timeout=2)
