"""An HTTP server inside the service's own loop."""

from __future__ import annotations

import asyncio
import errno
import socket

import uvicorn
from starlette.types import ASGIApp

from stepwire.chassis.errors import ChassisError, PortTaken, SettingsError
from stepwire.chassis.waiting import done_before

STOP_SECONDS = 5.0
# Longer than clients keep idle connections, so that they, who know whether a request is repeatable, close first.
KEEP_ALIVE_SECONDS = 75


class WebServer:
    """Serves `app` on `host` and `port` (0: a free one) until it is stopped."""

    def __init__(
        self, app: ASGIApp, *, host: str, port: int, service: str, setting: str = "STEPWIRE_METRICS_PORT"
    ) -> None:
        self._host = host
        self._port = port
        self._service = service
        self._setting = setting
        self._server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="on",
                server_header=False,
                timeout_graceful_shutdown=int(STOP_SECONDS),
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Listen and return the base URL.

        Raises:
            PortTaken: the address is in use.
            SettingsError: it is none of this machine's.
        """
        listener = self._bind()
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name=f"{self._service} web")
        if await done_before(self._task, self._server.has_started):
            self._task.result()
        return f"http://{_in_url(self._host)}:{listener.getsockname()[1]}"

    async def stop(self) -> None:
        """Stop accepting, let requests under way end within 5 s."""
        if self._task is None:
            return
        self._server.should_exit = True
        await self._task

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self._port))
            listener.listen(1024)
        except OSError as error:
            listener.close()
            raise self._why(error) from error
        listener.setblocking(False)  # noqa: FBT003  # the standard library's signature
        return listener

    def _why(self, error: OSError) -> ChassisError:
        if error.errno == errno.EADDRINUSE:
            return PortTaken(self._service, self._host, self._port, self._setting)
        settings = f"{self._setting.replace('_PORT', '_HOST')} and {self._setting}"
        return SettingsError(
            f"{self._service} cannot listen on {self._host}:{self._port} ({error.strerror}); check {settings}."
        )


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the service has its own, which drain first."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.has_started = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.has_started.set()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await self._serve(sockets)


def _in_url(host: str) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # shown, not bound
    return f"[{shown}]" if ":" in shown else shown
