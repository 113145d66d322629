"""Many clients at once: what they have sent of unfinished bodies is bounded in bytes and in time."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stepwire_gateway.problems import Problem

MOST_BYTES = 32 * 1024 * 1024
BODY_SECONDS = 30.0


class Crowd:
    """Refuses with 429 what would hold too much memory, and with 408 who takes too long to send.

    One body is bounded by BODY_MAX_BYTES; this bounds all of them together, however many clients stop half-way.
    """

    def __init__(self, app: ASGIApp, *, most_bytes: int = MOST_BYTES, seconds: float = BODY_SECONDS) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(self, receive)
        try:
            await self._app(scope, body.receive, send)
        finally:
            body.let_go()

    def hold(self, size: int) -> None:
        """Count bytes of an unfinished body.

        Raises:
            Problem: there are too many of them by now.
        """
        if self._held + size > self._most_bytes:
            raise Problem(429, "too_many", "too many bodies are being sent at once; try again")
        self._held += size

    def let_go(self, size: int) -> None:
        """They are dealt with, or their sender has gone."""
        self._held -= size

    @property
    def seconds(self) -> float:
        """How long a body may take."""
        return self._seconds


class _Body:
    """The body of one request while it is received."""

    def __init__(self, crowd: Crowd, receive: Receive) -> None:
        self._crowd = crowd
        self._receive = receive
        self._until = asyncio.get_running_loop().time() + crowd.seconds
        self._held = 0
        self._complete = False

    async def receive(self) -> Message:
        """The next message; once the body is there nothing is hurried any more."""
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError as error:
            raise Problem(408, "too_slow", "the body took too long to arrive; send it faster") from error
        self._complete = not message.get("more_body", False)
        if self._complete:
            self.let_go()
        else:
            size = len(message["body"])
            self._crowd.hold(size)
            self._held += size
        return message

    def let_go(self) -> None:
        """Count nothing of it any more."""
        self._crowd.let_go(self._held)
        self._held = 0
