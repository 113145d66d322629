"""One process as an operator reads it: what it is, what it waits for, its steps, its errors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from stepwire.process.model import FINISHED, RETRYABLE, Status
from stepwire_cli.output import as_time, duration, facts, lasting, moment, status_text, table

Body = Mapping[str, Any]

PENDING = "pending"
_DONE = frozenset({"success", "complete", "skipped"})
_STANDING_STILL = (FINISHED | RETRYABLE) - {Status.WAITING}


def has_ended(status: str) -> bool:
    """Whether nothing more happens by itself: it ended, or failed and somebody has to decide."""
    return status in _STANDING_STILL


def process_view(process: Body, *, with_state: bool = False, with_traceback: bool = False) -> RenderableType:
    """Everything about a process."""
    parts: list[RenderableType] = [head(process), Text(), steps_table(process)]
    parts += [Text(), *_errors(process)]
    if with_traceback and process.get("traceback"):
        parts += [Text(), Text(str(process["traceback"]).rstrip(), style="dim")]
    if with_state:
        parts += [Text(), Text("State", style="bold"), Text(json.dumps(process["current_state"], indent=2))]
    return Group(*_without_blank_end(parts))


def head(process: Body) -> RenderableType:
    """What the process is and how it stands."""
    labels = ", ".join(f"{key}:{value}" for key, value in (process.get("labels") or {}).items())
    end = process.get("completed_at") or datetime.now(UTC)
    return facts(
        [
            ("Process", Text(str(process["process_id"]))),
            ("Workflow", Text(f"{process['workflow_name']}  ({process['workflow_target']})")),
            ("Status", status_text(process["last_status"])),
            ("Waits for", _waiting(process)),
            ("Progress", _some(process.get("progress"))),
            ("Asks for", _asked(process)),
            ("Started", Text(f"{moment(process['started_at'])}  by {process.get('created_by') or '-'}")),
            ("Took" if process.get("completed_at") else "So far", Text(duration(process["started_at"], end))),
            ("Labels", _some(labels)),
            ("Priority", _some(process.get("priority"))),
            ("Note", _some(process.get("note"))),
            *_subscriptions(process),
        ]
    )


def steps_table(process: Body) -> RenderableType:
    """The steps in their order, those to come at the end."""
    columns = ("Node", "Step", "Status", "Try", "Started", "Took")
    return table(columns, [row for step in process["steps"] for row in _rows(step)], wrap=["Step"])


def waits_for(process: Body) -> str:
    """What a process waits for, in a few words; empty where it waits for nothing."""
    found = process.get("waiting_on")
    if not found:
        return ""
    until = as_time(found.get("until"))
    parts = [str(found.get("detail") or found["kind"]).rstrip(".")]
    # Whoever holds a lock or runs a step is named by the detail already.
    parts += [f"by {found['who']}"] if found.get("who") and str(found["who"]) not in parts[0] else []
    parts += [f"until {moment(until)}, in {_in(until)}"] if until else []
    return ", ".join(parts)


def step_line(step: Body) -> Text:
    """A step in one line."""
    tries = f"  (attempt {step['attempt']})" if (step.get("attempt") or 1) > 1 else ""
    error = f"  {error_sentence(step['error'])}" if step.get("error") else ""
    took = duration(step.get("started"), step.get("completed"))
    return Text.assemble(
        (f"{moment(step.get('completed') or step.get('started'))}  ", "dim"),
        f"{step['node']:<5} {step['name']}: ",
        status_text(str(step["status"])),
        (f"  {took}" if took != "-" else "", "dim"),
        (tries, "dim"),
        (error, "red"),
    )


def error_sentence(error: Any) -> str:
    """The error of a step as its class and message."""
    if not isinstance(error, Mapping):
        return str(error)
    kind = error.get("class_name") or ""
    message = str(error.get("message") or "").strip()
    return f"{kind}: {message}" if kind and message else str(kind or message)


def _rows(step: Body, depth: int = 0) -> Iterator[tuple[RenderableType, ...]]:
    begun = step["status"] != PENDING
    style = "" if begun else "dim"
    yield (
        Text(f"{'  ' * depth}{step['node']}", style=style),
        Text(f"{'  ' * depth}{step['name']}", style=style),
        status_text(step["status"]),
        Text(_tries(step), style=style),
        Text(moment(step.get("started"))[11:] if step.get("started") else "", style="dim"),
        Text(duration(step.get("started"), step.get("completed")) if step.get("completed") else "", style="dim"),
    )
    for sub_step in step.get("sub_steps") or ():
        yield from _rows(sub_step, depth + 1)


def _tries(step: Body) -> str:
    """The attempt, and how often an identical failure came again."""
    if not step.get("attempt"):
        return ""
    return f"{step['attempt']}" + (f" (+{step['retries']})" if step.get("retries") else "")


def _waiting(process: Body) -> Text | None:
    words = waits_for(process)
    return Text(words, style="yellow") if words else None


def _asked(process: Body) -> Text | None:
    form = process.get("form")
    if not isinstance(form, Mapping) or process["last_status"] != "suspended":
        return None
    return Text(f"{', '.join(form.get('properties', {}))}  (stepwire process resume {process['process_id']})")


def _subscriptions(process: Body) -> Iterator[tuple[str, Text]]:
    for subscription in process.get("subscriptions") or ():
        state = "in sync" if subscription.get("insync") else "out of sync"
        words = f"{subscription['subscription_id']}  {subscription['description']}  {subscription['status']}, {state}"
        yield "Subscription", Text(words)


def _errors(process: Body) -> Iterator[RenderableType]:
    overcome = {step["node"] for step in process["steps"] if step["status"] in _DONE}
    for step in process["steps"]:
        if step.get("error"):
            at = f"{step['name']} (node {step['node']}, attempt {step['attempt']})"
            head_style, style = ("dim", "dim") if step["node"] in overcome else ("bold", "red")
            yield Text.assemble((at, head_style), ": ", (error_sentence(step["error"]), style))
    failed = process.get("failed_reason")
    if failed and not any(step.get("error") for step in process["steps"]):
        yield Text(str(failed), style="red")


def _some(value: Any) -> Text | None:
    if not value:
        return None
    return Text(value if isinstance(value, str) else json.dumps(value))


def _in(moment_to_come: datetime) -> str:
    return lasting((moment_to_come - datetime.now(UTC)).total_seconds())


def _without_blank_end(parts: list[RenderableType]) -> list[RenderableType]:
    while parts and isinstance(parts[-1], Text) and not parts[-1].plain:
        parts.pop()
    return parts
