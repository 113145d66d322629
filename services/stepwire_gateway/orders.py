"""What operators ask of a process over HTTP: go on, end, note, skip a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from stepwire.chassis.settings import Settings
from stepwire.contracts.commands import AbortProcess, AddNote, Command, ResumeProcess, SkipStep
from stepwire.contracts.forms import FormRequest
from stepwire.contracts.reasons import Reason
from stepwire.data import process_reads, removal
from stepwire.data.process_reads import Standing
from stepwire.process.model import FINISHED, RETRYABLE, Status
from stepwire_gateway import bodies
from stepwire_gateway.database import Database
from stepwire_gateway.problems import malformed, refusal, undecided_start, unknown_process
from stepwire_gateway.replies import Forms
from stepwire_gateway.responses import json_response, no_content
from stepwire_gateway.sending import GATEWAY, Sender, build_command
from stepwire_gateway.starts import IdempotencyKey

User = Annotated[str | None, Query(description="Who asks.")]


class Orders:
    """Takes wishes about processes that exist."""

    def __init__(self, settings: Settings, database: Database, forms: Forms, sender: Sender) -> None:
        self._settings = settings
        self._database = database
        self._forms = forms
        self._sender = sender

    async def resume(
        self, request: Request, process_id: str, user: User = None, idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Go on: with input where the process is suspended, else a retry."""
        found = bodies.process_id(process_id)
        pages = await bodies.read_pages(request, self._settings.body_max_bytes)
        standing = await self.standing(found)
        command = build_command(
            ResumeProcess,
            command_id=idempotency_key or str(uuid4()),
            process_id=found,
            user_inputs=pages,
            user=user,
        )
        if idempotency_key is None or not await self._sender.earlier(command):
            await self._check_resume(command, standing)
        return await self._send(command, found)

    async def abort(  # the parameters of the route
        self,
        process_id: str,
        user: User = None,
        reason: str | None = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """End a process now; one that has ended stays as it is."""
        found = bodies.process_id(process_id)
        standing = await self.standing(found)
        if standing.status in FINISHED:
            return no_content()
        command_id = idempotency_key or str(uuid4())
        command = build_command(AbortProcess, command_id=command_id, process_id=found, user=user, reason=reason)
        return await self._send(command, found)

    async def note(
        self, request: Request, process_id: str, user: User = None, idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Attach a note to a process."""
        found = bodies.process_id(process_id)
        body = await bodies.read_object(request, self._settings.body_max_bytes)
        await self.standing(found)
        command = build_command(
            AddNote,
            command_id=idempotency_key or str(uuid4()),
            process_id=found,
            **_given(body, "note", user=user),
        )
        response = await self._send(command, found)
        return json_response({"process_id": found, "note": command.note}) if response.status_code == 204 else response  # noqa: PLR2004  # the only other is 202

    async def skip(
        self, request: Request, process_id: str, user: User = None, idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Record a failed step as done by hand, and go on."""
        found = bodies.process_id(process_id)
        body = await bodies.read_object(request, self._settings.body_max_bytes)
        await self.standing(found)
        command = build_command(
            SkipStep,
            command_id=idempotency_key or str(uuid4()),
            process_id=found,
            **_given(body, "node", "state", "reason", user=user),
        )
        return await self._send(command, found)

    async def delete(self, process_id: str) -> Response:
        """Remove a task that has ended, with its log; other processes are kept."""
        found = bodies.process_id(process_id)
        standing = await self.standing(found)
        if standing.status is None:
            raise undecided_start()
        if not standing.is_task:
            raise malformed("only tasks can be deleted; this process is kept for the record")
        removed = await self._database.run(lambda connection: removal.remove_task(connection, found))
        if not removed:
            # Unless somebody else has removed it meanwhile.
            standing = await self.standing(found)
            raise malformed(f"the task is {standing.status}; it can be deleted when it has ended, so abort it first")
        return no_content()

    async def standing(self, process_id: UUID) -> Standing:
        """Where the process stands.

        Raises:
            Problem: there is no such process and no start of one, or the database is away.
        """
        standing = await self._database.run(lambda connection: process_reads.standing(connection, process_id))
        if standing is None:
            raise unknown_process()
        return standing

    async def _check_resume(self, command: ResumeProcess, standing: Standing) -> None:
        """What can be refused at once is; the coordinator decides the rest, also whether an undecided start was one."""
        if standing.status == Status.SUSPENDED:
            await self._forms.check(self._question(command, standing), standing.queue)
        elif standing.status is not None and standing.status not in RETRYABLE:
            detail = f"process {command.process_id} is {standing.status} and there is nothing to resume"
            raise refusal(Reason.WRONG_STATUS, detail)

    def _question(self, command: ResumeProcess, standing: Standing) -> FormRequest:
        return FormRequest(
            source=GATEWAY,
            gateway=self._forms.instance,
            kind="resume",
            workflow=standing.workflow,
            user_inputs=command.user_inputs,
            process_id=command.process_id,
            node=standing.node,
            user=command.user or command.source,
            deadline_seconds=self._settings.form_timeout_seconds,
        )

    async def _send(self, command: Command, process_id: UUID) -> Response:
        sent = await self._sender.send(command)
        if sent.answer is None:
            return json_response({"id": process_id}, 202, {"Location": f"/api/processes/{process_id}"})
        return no_content()


def _given(body: Mapping[str, Any], *names: str, user: str | None) -> dict[str, Any]:
    """What the body says of these; who asks may be told in the body too."""
    told = {name: body[name] for name in names if name in body}
    return {**told, "user": user or body.get("user")}
