"""Waiting for the one final answer to a command: from the event tail, else from its row."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stepwire.contracts.commands import Command, kafka_key
from stepwire.contracts.events import COMMAND_ACCEPTED, COMMAND_REJECTED
from stepwire.data import command_log
from stepwire.data.command_log import LoggedAnswer
from stepwire_gateway.database import Database, DatabaseAway
from stepwire_gateway.tail import Tail

POLL_SECONDS = 0.25

Waiter = asyncio.Future[LoggedAnswer]


class Answers:
    """Who waits for which command; one statement every 0.25 s asks for all of them, none when nobody waits."""

    def __init__(self, tail: Tail, database: Database, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._tail = tail
        self._database = database
        self._poll_seconds = poll_seconds
        self._waiting: dict[str, list[Waiter]] = {}
        self._poller: asyncio.Task[None] | None = None

    @contextmanager
    def to(self, command: Command) -> Iterator[Waiter]:
        """A future for the answer to `command`; enter before the command is sent, so that none is missed."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        keys = {kafka_key(command), command.command_id.encode()}
        with self._tail.events_of(tuple(keys), lambda event: _notice(event, command.command_id, waiter)):
            self._waiting.setdefault(command.command_id, []).append(waiter)
            self._start_polling()
            try:
                yield waiter
            finally:
                self._forget(command.command_id, waiter)

    def _start_polling(self) -> None:
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(), name="answers")

    def _forget(self, command_id: str, waiter: Waiter) -> None:
        self._waiting[command_id].remove(waiter)
        if not self._waiting[command_id]:
            del self._waiting[command_id]

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            if not self._waiting:
                return
            await self._look()

    async def _look(self) -> None:
        ids = list(self._waiting)
        try:
            found = await self._database.do(lambda connection: command_log.answered(connection, ids))
        except DatabaseAway:
            # Told by the database module; the answer may still come as an event.
            return
        for answer in found:
            for waiter in self._waiting.get(answer.command_id, ()):
                _settle(waiter, answer)


def _notice(event: dict[str, Any], command_id: str, waiter: Waiter) -> None:
    if event.get("type") not in (COMMAND_ACCEPTED, COMMAND_REJECTED):
        return
    data = event.get("data")
    if isinstance(data, dict) and data.get("command_id") == command_id:
        _settle(waiter, LoggedAnswer(command_id, event["type"] == COMMAND_ACCEPTED, data))


def _settle(waiter: Waiter, answer: LoggedAnswer) -> None:
    if not waiter.done():
        waiter.set_result(answer)
