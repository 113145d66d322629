"""Starting a process and going on with one: the pages, the command, its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from stepwire_cli import following
from stepwire_cli.errors import EXIT_DONE, Failed, Refused
from stepwire_cli.forms.filling import Filler, Pages
from stepwire_cli.forms.given import read_pages, read_pairs
from stepwire_cli.gateway import Gateway, unknown_workflow
from stepwire_cli.options import login, user_or_login
from stepwire_cli.output import say, show


@dataclass(frozen=True)
class Order:
    """What shall be started, and how."""

    workflow: str
    labels: Sequence[str] = ()
    priority: int = 0
    on_conflict: str = "reject"
    hold: bool = False
    command_id: str | None = None
    reporter: str | None = None

    def params(self) -> dict[str, Any]:
        """The parameters of the HTTP API.

        Raises:
            WrongUsage: a label is not written as key:value.
        """
        read_pairs(self.labels, ":", "--label")
        return {
            "label": list(self.labels),
            "priority": self.priority,
            "on_conflict": self.on_conflict,
            "hold": self.hold,
            "reporter": self.reporter or login(),
        }


class Input:
    """The pages and fields of the command line, read before anything is sent."""

    def __init__(self, pages: str | None, fields: Sequence[str] | None) -> None:
        self.pages = read_pages(pages)
        self.fields = read_pairs(fields, "=", "--field")

    def fill(self, send: Any) -> Any:
        """Send what was given, and what else the form asks for."""
        return Filler(self.fields).fill(send, self.pages or ())


def start(order: Order, given: Input, url: str | None, *, follow: bool, as_json: bool) -> int:
    """Start a process and tell its id; returns the exit code."""
    # One key for all tries: what the answer to the last page was is known even if the connection broke.
    headers = {"Idempotency-Key": order.command_id or f"cli-{uuid4()}"}
    params = order.params()
    with Gateway(url) as gateway:

        def send(pages: Pages) -> Any:
            path = f"/processes/{quote(order.workflow, safe='')}"
            return gateway.send("POST", path, json=pages, params=params, headers=headers)

        if given.fields:
            _check_form(gateway, order.workflow)
        try:
            response = given.fill(send)
        except Refused as refused:
            # A slash in the name makes another path, at which there is nothing either.
            if refused.status == HTTPStatus.NOT_FOUND:
                raise unknown_workflow(gateway, order.workflow) from refused
            raise
        process_id = response.json()["id"]
        accepted = was_accepted(response)
        return _started(gateway, order, process_id, accepted=accepted, follow=follow, as_json=as_json)


def resume(gateway: Gateway, process_id: str, given: Input, user: str | None) -> bool:
    """Go on with a process; False where its acceptance is still to come."""
    path, params = f"/processes/{process_id}/resume", {"user": user_or_login(user)}
    headers = {"Idempotency-Key": f"cli-{uuid4()}"}
    return was_accepted(given.fill(lambda pages: gateway.send("PUT", path, json=pages, params=params, headers=headers)))


def _started(gateway: Gateway, order: Order, process_id: str, *, accepted: bool, follow: bool, as_json: bool) -> int:
    told = {"process_id": process_id, "workflow": order.workflow, "accepted": accepted}
    if follow:
        if not as_json:
            say(f"Started process {process_id}.")
        return following.follow(gateway, process_id, as_json=as_json, expected=not accepted)
    later = "Started" if accepted else "Not answered yet; when it is, it will be"
    show(told, lambda: f"{later} process {process_id}.", as_json=as_json)
    return EXIT_DONE


def was_accepted(response: Any) -> bool:
    """Whether the command was accepted, or only taken, to be answered later."""
    return bool(response.status_code != HTTPStatus.ACCEPTED)


def _check_form(gateway: Gateway, name: str) -> None:
    """Fields for a workflow without a form would be passed over in silence."""
    workflows = {workflow["name"]: workflow for workflow in gateway.get("/workflows")}
    if name not in workflows:
        raise unknown_workflow(gateway, name)
    if not workflows[name]["has_form"]:
        raise Failed(f"workflow {name!r} has no form, so there is nothing that --field could answer.")
