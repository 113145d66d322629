"""How the workload's action tells the bench its callback route: one line of JSON over TCP."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from types import TracebackType
from typing import Self

ADDRESS = "BENCH_DOOR"
CONNECT_SECONDS = 5.0


def announce(process_id: str, route: str) -> None:
    """Hand a callback route to the bench (called in the executor); returns when the bench has it.

    Raises:
        OSError: nobody listens; the step fails.
    """
    host, _, port = os.environ[ADDRESS].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS) as connection:
        connection.sendall(json.dumps([process_id, route]).encode() + b"\n")
        connection.recv(1)


class Door:
    """The bench's end: routes by process, as they come in."""

    def __init__(self) -> None:
        self.routes: dict[str, str] = {}
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._receive, sock=self._socket)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    @property
    def address(self) -> str:
        """Where it listens; known before it is entered."""
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        process_id, route = json.loads(await reader.readline())
        self.routes[process_id] = route
        writer.write(b"\n")
        await writer.drain()
        writer.close()
