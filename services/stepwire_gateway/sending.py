"""Commands over HTTP: one row before anything else, then a record as wake-up, then the answer."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple, TypeVar

import orjson
from pydantic import ValidationError

from stepwire.chassis.errors import ChassisError
from stepwire.chassis.failpoints import Failpoints
from stepwire.chassis.kafka import Outgoing, Producer
from stepwire.chassis.logging import get_logger
from stepwire.chassis.settings import Settings
from stepwire.contracts import topics
from stepwire.contracts.base import encode
from stepwire.contracts.commands import Command, content_hash, kafka_key
from stepwire.contracts.reasons import Reason
from stepwire.contracts.tracing import trace_headers
from stepwire.data import command_log
from stepwire.data.command_log import ANSWERED, LoggedAnswer, LoggedCommand
from stepwire_gateway.answers import Answers, Waiter
from stepwire_gateway.background import Background
from stepwire_gateway.database import Database, DatabaseAway
from stepwire_gateway.problems import Problem, malformed, refusal, refused_command
from stepwire_gateway.tracing import current_traceparent

GATEWAY = "stepwire/gateway"
WAKE_UP_SECONDS = 2.0
# The gateway's own refusals are not remembered: the same id may be tried again.
FORGOTTEN_STATUSES = frozenset({400, 503})


C = TypeVar("C", bound=Command)


class Sent(NamedTuple):
    """What became of a command; `answer` is None where none came in time."""

    answer: LoggedAnswer | None


class Sender:
    """Sends commands and waits for their answers."""

    def __init__(
        self, settings: Settings, database: Database, producer: Producer, answers: Answers, failpoints: Failpoints
    ) -> None:
        self.background = Background()
        self._settings = settings
        self._database = database
        self._producer = producer
        self._answers = answers
        self._failpoints = failpoints
        self._log = get_logger()

    async def earlier(self, command: Command) -> bool:
        """Whether the same command was received before.

        Raises:
            Problem: another command was, under its id; or the database is away.
        """
        known = await self._find(command.command_id)
        if known is None:
            return False
        _same_content(command, known)
        return True

    async def send(self, command: Command) -> Sent:
        """Send `command`, or find the one with its id, and wait for the answer for ACCEPT_WAIT_SECONDS.

        Raises:
            Problem: it is refused; another one was sent under its id; the database is away.
        """
        with self._answers.to(command) as waiter:
            is_new = await self._record(command)
            answer = await self._wait(waiter) if is_new else await self._earlier_answer(command, waiter)
        if answer is not None and not answer.accepted:
            raise await self._refused(answer, is_new=is_new)
        return Sent(answer)

    async def _record(self, command: Command) -> bool:
        body = encode(command)
        await self._failpoints.hit_async("gateway.received")
        is_new = await self._database.do(lambda connection: command_log.record(connection, command, body))
        if is_new:
            self._wake_up(command, body)
        return is_new

    def _wake_up(self, command: Command, body: bytes) -> None:
        key = kafka_key(command)
        headers = trace_headers(command.traceparent, key.decode())
        record = Outgoing(self._settings.topic(topics.PROCESS_COMMANDS), body, key, headers)
        self.background.start(self._announce(record, command.command_id))

    async def _announce(self, record: Outgoing, command_id: str) -> None:
        try:
            await self._producer.send(record, deadline_seconds=WAKE_UP_SECONDS)
        except ChassisError as error:
            self._log.warning(
                "A command is announced by the database alone.",
                action="wake_up",
                command_id=command_id,
                reason=str(error),
            )
            await self._nudge()

    async def _nudge(self) -> None:
        try:
            await self._database.do(command_log.nudge)
        except DatabaseAway:
            # Told by the database module; coordinators find rows that are older than 2 s by themselves.
            return

    async def _wait(self, waiter: Waiter) -> LoggedAnswer | None:
        await asyncio.wait({waiter}, timeout=self._settings.accept_wait_seconds)
        return waiter.result() if waiter.done() else None

    async def _earlier_answer(self, command: Command, waiter: Waiter) -> LoggedAnswer | None:
        known = await self._find(command.command_id)
        if known is not None:
            _same_content(command, known)
        if known is not None and known.status in ANSWERED:
            return LoggedAnswer(known.command_id, known.status == "accepted", known.answer or {})
        answer = await self._wait(waiter)
        if answer is None and await self._find(command.command_id) is None:
            # Nobody here has heard of its refusal, and nothing is kept that could be answered later.
            raise Problem(503, "forgotten", "the same command was refused just now; send it again to be told why")
        return answer

    async def _find(self, command_id: str) -> LoggedCommand | None:
        return await self._database.do(lambda connection: command_log.find(connection, command_id))

    async def _refused(self, answer: LoggedAnswer, *, is_new: bool) -> Problem:
        problem = refused_command(answer.data)
        if problem.status in FORGOTTEN_STATUSES and (is_new or await self._came_by_http(answer.command_id)):
            await self._forget(answer.command_id)
        return problem

    async def _came_by_http(self, command_id: str) -> bool:
        """Whether nobody forgot it because whoever waited was gone; what was refused by Kafka stays refused."""
        known = await self._find(command_id)
        return known is not None and orjson.loads(known.body).get("source") == GATEWAY

    async def _forget(self, command_id: str) -> None:
        try:
            await self._database.do(lambda connection: command_log.forget(connection, command_id))
        except DatabaseAway:
            # Then whoever sends it again gets the same answer once more, and it is forgotten then.
            return


def build_command(kind: type[C], **values: Any) -> C:
    """A command of the gateway's.

    Raises:
        Problem: a value cannot be used.
    """
    try:
        return kind(source=GATEWAY, traceparent=current_traceparent(), **values)
    except ValidationError as error:
        errors = [{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in error.errors()]
        detail = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in errors)
        raise malformed(detail, errors) from error


def _same_content(command: Command, known: LoggedCommand) -> None:
    if bytes(known.content_hash) != content_hash(command):
        detail = f"another command was sent under the id {command.command_id!r}; use a new id"
        raise refusal(Reason.COMMAND_ID_REUSED, detail)
