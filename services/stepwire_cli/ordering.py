"""Orders about one process, and what is told about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepwire.process.model import FINISHED, RETRYABLE
from stepwire_cli.errors import Failed
from stepwire_cli.gateway import Body, Gateway
from stepwire_cli.options import confirm, user_or_login
from stepwire_cli.output import show
from stepwire_cli.starting import Input, was_accepted
from stepwire_cli.starting import resume as send_resume


def resume(text: str, given: Input, user: str | None, url: str | None, *, as_json: bool) -> None:
    """Go on with a process."""
    with Gateway(url) as gateway:
        process_id = gateway.find(text)
        accepted = send_resume(gateway, process_id, given, user)
    _tell(process_id, "goes on", accepted=accepted, as_json=as_json)


def retry(text: str, user: str | None, url: str | None, *, as_json: bool) -> None:
    """Try again what failed or waits."""
    with Gateway(url) as gateway:
        process = gateway.process(gateway.find(text))
        process_id, status = process["process_id"], process["last_status"]
        if status not in RETRYABLE:
            more = f"; `stepwire process resume {process_id}` gives its input" if status == "suspended" else ""
            raise Failed(f"process {process_id} is {status}, and there is nothing to try again{more}.")
        accepted = send_resume(gateway, process_id, Input(None, None), user)
    _tell(process_id, "is tried again", accepted=accepted, as_json=as_json)


def skip(text: str, body: dict[str, Any], user: str | None, url: str | None, *, as_json: bool) -> None:
    """Record a failed step as done by hand."""
    with Gateway(url) as gateway:
        process = gateway.process(gateway.find(text))
        process_id = process["process_id"]
        named = {**body, "node": body["node"] or _failed_node(process)}
        path, params = f"/processes/{process_id}/skip", {"user": user_or_login(user)}
        accepted = was_accepted(gateway.send("PUT", path, json=named, params=params))
    _tell(process_id, f"goes on after node {named['node']}", accepted=accepted, as_json=as_json)


def abort(
    text: str, reason: str | None, user: str | None, url: str | None, *, ask: bool, as_json: bool
) -> None:  # the command's
    """End a process."""
    with Gateway(url) as gateway:
        process = gateway.process(gateway.find(text))
        process_id, status = process["process_id"], process["last_status"]
        if status in FINISHED:
            _tell(process_id, f"had ended before: it is {status}", accepted=True, as_json=as_json)
            return
        if ask:
            confirm(f"Abort {process['workflow_name']} {process_id}, which is {status}?")
        params = {"user": user_or_login(user), **({"reason": reason} if reason else {})}
        response = gateway.send("PUT", f"/processes/{process_id}/abort", params=params)
    _tell(process_id, "is aborted", accepted=was_accepted(response), as_json=as_json)


def note(text: str, words: str, user: str | None, url: str | None, *, as_json: bool) -> None:
    """Attach a note."""
    with Gateway(url) as gateway:
        process_id = gateway.find(text)
        params = {"user": user_or_login(user)}
        response = gateway.send("PATCH", f"/processes/{process_id}", json={"note": words}, params=params)
    _tell(process_id, "has the note", accepted=was_accepted(response), as_json=as_json)


def _failed_node(process: Body) -> str:
    """Where the step is that failed last; of a group the sub-step alone, for nobody has done the others by hand.

    Raises:
        Failed: none has.
    """
    status = process["last_status"]
    step = _last_failed(process["steps"])
    if status not in RETRYABLE or step is None:
        raise Failed(f"process {process['process_id']} is {status}, and no step of it could be skipped.")
    while beneath := _last_failed(step.get("sub_steps") or ()):
        step = beneath
    return str(step["node"])


def _last_failed(steps: Sequence[Body]) -> Body | None:
    return next((step for step in reversed(steps) if step.get("error")), None)


def _tell(process_id: str, what: str, *, accepted: bool, as_json: bool) -> None:
    sentence = f"Process {process_id} {what}." if accepted else f"Process {process_id}: sent, and not answered yet."
    show({"process_id": process_id, "accepted": accepted}, lambda: sentence, as_json=as_json)
