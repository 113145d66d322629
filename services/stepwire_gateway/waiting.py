"""`waiting_on`: what an unfinished process waits for, told from its row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stepwire.data.process_reads import LONG_STEP_SECONDS, Row
from stepwire.process.holding import waiting_in_line
from stepwire.process.model import RETRYABLE, Status
from stepwire_gateway.shapes import WaitingKind, WaitingOn


def waiting_on(process: Row) -> WaitingOn | None:
    """What `process` waits for, None where it makes progress or has ended."""
    # Given input is being checked by a run: if nobody can serve it, that is what the process waits for.
    run = _of_a_run(process) if process["runnable"] else None
    if run is not None:
        return run
    if process["lock_place"]:
        return _in_line(process)
    if process["waiting_on"]:
        return {**_about("queue", ""), **process["waiting_on"]}
    rule = None if process["runnable"] else _RULES.get(process["status"])
    return rule(process) if rule else None


def _of_a_run(process: Row) -> WaitingOn | None:
    """A run is dispatched or under way: it waits while nobody has taken it, or in a long step."""
    if process["claimed_by"] is not None:
        return _long_step(process) if process["step_since"] is not None else None
    if process["paused"]:
        return _about("pause", "the engine is paused")
    if process["served"] is None:
        return None
    if not process["served"]:
        return _about("executor", f"an executor for {process['workflow']}")
    return _about("queue", f"a free executor of queue {process['queue']}")


def _in_line(process: Row) -> WaitingOn:
    """In the line for a lock: who has it now, and how many have to go before."""
    written, holder = process["waiting_on"], process["lock_holder"]
    told = waiting_in_line(written["lock"], holder)
    about = _about("lock", told["detail"], who=told["who"])
    return {**about, "lock": written["lock"], "place": process["lock_place"]}


def _long_step(process: Row) -> WaitingOn | None:
    since = process["step_since"]
    if (process["now"] - since).total_seconds() <= LONG_STEP_SECONDS:
        return None
    detail = f"the step after {process['last_step']!r} has been running on {process['claimed_by']} since {since}"
    return {**_about("step", detail, who=str(process["claimed_by"])), "since": since}


def _input(process: Row) -> WaitingOn:
    return _about("input", f"input for {process['last_step']!r}", who=process["assignee"])


def _callback(process: Row) -> WaitingOn:
    return _about("callback", f"the callback of {process['last_step']!r}", until=process["deadline"])


def _retry(process: Row) -> WaitingOn:
    return _about("retry", "somebody who retries or aborts it", who=process["assignee"])


def _about(kind: WaitingKind, detail: str, *, until: Any = None, who: str | None = None) -> WaitingOn:
    return {"kind": kind, "detail": detail, "until": until, "who": who}


_RULES: dict[str, Callable[[Row], WaitingOn]] = {
    Status.SUSPENDED: _input,
    Status.AWAITING_CALLBACK: _callback,
    **dict.fromkeys(RETRYABLE, _retry),
}
