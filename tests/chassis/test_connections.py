"""A connection to Kafka that is reset in the very moment it is used, on the loop that services run on."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from stepwire.chassis.errors import Unreachable
from stepwire.chassis.kafka import ping
from stepwire.chassis.settings import Settings

TURNS_UNTIL_SEEN = range(4)
MANY = 50
MORE_THAN_BUFFERS = 64 * 1024 * 1024
END_SECONDS = 10.0
RESET = struct.pack("ii", 1, 0)


class Resetting:
    """Passes connections on to a broker, and ends them as a broker's machine does that is gone."""

    def __init__(self, broker: str) -> None:
        host, _, port = broker.rpartition(":")
        self._broker = (host, int(port))
        self._writers: list[asyncio.StreamWriter] = []
        self._passing: set[asyncio.Task[None]] = set()
        self.at_once = False
        self.holds = asyncio.Event()

    def reset(self) -> None:
        """End all connections."""
        while self._writers:
            writer = self._writers.pop()
            if writer.is_closing():
                continue
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection; `at_once`: to reset it."""
        self._writers.append(writer)
        if self.at_once:
            self.reset()
            return
        there_reader, there_writer = await asyncio.open_connection(*self._broker)
        self._writers.append(there_writer)
        await asyncio.gather(self._pass(reader, there_writer), self._pass(there_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while not self.holds.is_set() and (data := await reader.read(65_536)):
                writer.write(data)
        if not self.holds.is_set():
            writer.close()


@asynccontextmanager
async def resetting(settings: Settings) -> AsyncIterator[tuple[Resetting, int]]:
    """A way to the broker that can be reset, and its port."""
    way = Resetting(settings.kafka_bootstrap)
    async with await asyncio.start_server(way.accept, "127.0.0.1", 0) as server:
        yield way, server.sockets[0].getsockname()[1]
        way.reset()


def run(scene: object) -> None:
    """Run on the loop of services."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene)  # type: ignore[arg-type]


async def lost(connection: AIOKafkaConnection) -> None:
    """Return as soon as the loop knows that the connection has ended; its reader does not yet."""
    while not connection._writer.is_closing():  # noqa: ASYNC110, SLF001  # no event tells of this moment
        await asyncio.sleep(0)


@pytest.mark.parametrize("turns", TURNS_UNTIL_SEEN)
def test_what_is_sent_over_a_connection_that_was_reset(topics: Settings, turns: int) -> None:
    """It is refused as everything is that a lost connection does not take."""

    async def scene() -> None:
        async with resetting(topics) as (way, port):
            connection = await create_conn("127.0.0.1", port)
            way.reset()
            await lost(connection)
            for _ in range(turns):
                await asyncio.sleep(0)
            with pytest.raises(KafkaConnectionError):
                await connection.send(MetadataRequest([]))

    run(scene())


def test_connections_that_are_reset_as_they_begin(topics: Settings) -> None:
    """It is known of Kafka that it may be away."""

    async def scene() -> None:
        async with resetting(topics) as (way, port):
            way.at_once = True
            for _ in range(MANY):
                with pytest.raises(Unreachable):
                    await ping(f"127.0.0.1:{port}")

    run(scene())


def test_what_nobody_takes_any_more_is_not_waited_for(topics: Settings) -> None:
    """A producer that is replaced would not end, nor whoever waits for it, as long as a frozen broker is thawed."""

    async def scene() -> None:
        async with resetting(topics) as (way, port):
            connection = await create_conn("127.0.0.1", port)
            way.holds.set()
            connection._writer.write(b"x" * MORE_THAN_BUFFERS)  # noqa: SLF001  # a request that is too large for them
            assert connection._writer.transport.get_write_buffer_size()  # noqa: SLF001
            async with asyncio.timeout(END_SECONDS):
                await connection.close()

    run(scene())
