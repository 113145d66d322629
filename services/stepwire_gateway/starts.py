"""Starting processes over HTTP: form first, then the command, then its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import uuid4

from fastapi import Header, Query
from pydantic import AfterValidator
from starlette.requests import Request
from starlette.responses import Response

from stepwire.chassis.settings import Settings
from stepwire.contracts.commands import StartProcess, process_id_of
from stepwire.contracts.forms import FormRequest
from stepwire.contracts.reasons import Reason
from stepwire_gateway.bodies import read_pages
from stepwire_gateway.problems import malformed, refusal
from stepwire_gateway.replies import Forms
from stepwire_gateway.responses import json_response
from stepwire_gateway.sending import GATEWAY, Sender, build_command
from stepwire_gateway.workflows import Offer, Workflows


def _as_written(header: str) -> str:
    """A header as its sender has written it: servers read its bytes as Latin-1, and nearly everybody writes UTF-8."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeDecodeError:
        return header


IdempotencyKey = Annotated[
    Annotated[str, AfterValidator(_as_written)] | None,
    Header(alias="Idempotency-Key", description="The command id of this request."),
]


class Starts:
    """Takes starts."""

    def __init__(self, settings: Settings, workflows: Workflows, forms: Forms, sender: Sender) -> None:
        self._settings = settings
        self._workflows = workflows
        self._forms = forms
        self._sender = sender

    async def start(  # noqa: PLR0913  # the parameters of the route, as its clients know them
        self,
        request: Request,
        workflow: str,
        *,
        reporter: str | None = None,
        on_conflict: str = "reject",
        priority: int = 0,
        hold: bool = False,
        label: Annotated[Sequence[str], Query(description="`key:value`; may be repeated.")] = (),
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Start a workflow with the pages of its form; 510 asks for the next page."""
        pages = await read_pages(request, self._settings.body_max_bytes)
        offer = await self._workflows.offer(workflow)
        command = build_command(
            StartProcess,
            command_id=idempotency_key or str(uuid4()),
            workflow=workflow,
            user_inputs=pages,
            reporter=reporter,
            on_conflict=on_conflict,
            priority=priority,
            hold=hold,
            labels=_labels(label),
        )
        if idempotency_key is None or not await self._sender.earlier(command):
            await self._check(offer, command)
        sent = await self._sender.send(command)
        process_id = str((sent.answer and sent.answer.data.get("process_id")) or process_id_of(command.command_id))
        if sent.answer is None:
            return json_response({"id": process_id}, 202, {"Location": f"/api/processes/{process_id}"})
        return json_response({"id": process_id}, 201)

    async def _check(self, offer: Offer, command: StartProcess) -> None:
        """Refuse what needs no coordinator to be refused; what passes is checked again when it runs."""
        if offer.paused and not command.hold:
            raise refusal(Reason.ENGINE_PAUSED, "the engine is paused; try again when it runs, or send hold=true")
        if offer.has_form:
            await self._forms.check(_question(command, self._forms.instance, self._settings), offer.queue)
        elif any(command.user_inputs):
            detail = f"workflow {command.workflow} has no form; send [] or [{{}}]"
            errors = [{"loc": [0], "msg": detail, "type": "extra_forbidden"}]
            raise refusal(Reason.INVALID_INPUT, detail, validation_errors=errors)


def _labels(pairs: Sequence[str]) -> dict[str, str]:
    labels = {}
    for pair in pairs:
        key, colon, value = pair.partition(":")
        if not colon or not key:
            raise malformed(f"label {pair!r} is not written as key:value")
        labels[key] = value
    return labels


def _question(command: StartProcess, gateway: str, settings: Settings) -> FormRequest:
    return FormRequest(
        source=GATEWAY,
        gateway=gateway,
        kind="start",
        workflow=command.workflow,
        user_inputs=command.user_inputs,
        user=command.reporter or command.source,
        reporter=command.reporter or command.source,
        deadline_seconds=settings.form_timeout_seconds,
    )
