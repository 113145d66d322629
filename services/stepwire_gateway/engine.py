"""The engine as a whole over HTTP: paused or not, and a retry of everything that failed."""

from __future__ import annotations

from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from stepwire.chassis.settings import Settings
from stepwire.contracts.commands import PauseEngine, ResumeAll, UnpauseEngine
from stepwire.data import process_reads
from stepwire_gateway import bodies
from stepwire_gateway.database import Database
from stepwire_gateway.problems import malformed
from stepwire_gateway.reads import engine_status
from stepwire_gateway.responses import json_response
from stepwire_gateway.sending import Sender, build_command
from stepwire_gateway.starts import IdempotencyKey


class Engine:
    """Shows and changes the state of the engine."""

    def __init__(self, settings: Settings, database: Database, sender: Sender) -> None:
        self._limit = settings.body_max_bytes
        self._database = database
        self._sender = sender

    async def status(self, _: Request) -> Response:
        """Whether the engine runs, is pausing or is paused, and the runs under way."""
        state = await self._database.run(process_reads.engine_state)
        return json_response(engine_status(state))

    async def set_status(self, request: Request, idempotency_key: IdempotencyKey = None) -> Response:
        """Pause the engine (`global_lock` true) or let it go on."""
        body = await bodies.read_object(request, self._limit)
        if not isinstance(body.get("global_lock"), bool):
            raise malformed('the body must be {"global_lock": true} to pause or {"global_lock": false} to go on')
        kind = PauseEngine if body["global_lock"] else UnpauseEngine
        request.state.command = kind.__name__
        await self._sender.send(build_command(kind, command_id=idempotency_key or str(uuid4())))
        return await self.status(request)

    async def resume_all(self, _: Request, idempotency_key: IdempotencyKey = None) -> Response:
        """Retry every task that failed or waits."""
        count = await self._database.run(process_reads.retryable_tasks)
        sent = await self._sender.send(build_command(ResumeAll, command_id=idempotency_key or str(uuid4())))
        told = sent.answer.data.get("count") if sent.answer is not None else None
        return json_response({"count": count if told is None else told})
