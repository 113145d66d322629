"""B. Processes, 19, 22 and 23: abort from everywhere, code that changes under waiting processes, notes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest

from tests.behaviours.doors import HttpDoor, KafkaDoor, Live
from tests.behaviours.driver import Seen
from tests.behaviours.workflows.b_processes import APPENDED, CHANGED

Door = HttpDoor | KafkaDoor
EXECUTORS = ("executor-1", "executor-2")


def started(workflow: str, *statuses: str) -> Callable[[KafkaDoor], UUID]:
    """How to get a process of a workflow into a status."""

    def start(kafka: KafkaDoor) -> UUID:
        process_id = kafka.start(workflow)
        kafka.wait(process_id, *statuses)
        return process_id

    return start


def failed(workflow: str, kind: str, status: str) -> Callable[[KafkaDoor], UUID]:
    """How to get a process into a kind of failure."""

    def start(kafka: KafkaDoor) -> UUID:
        process_id = kafka.start(workflow, {"kind": kind})
        kafka.wait(process_id, status)
        return process_id

    return start


WAYS = {
    "unserved": started("b19_unserved", "running"),
    "suspended": started("b19_suspended", "suspended"),
    "waiting": started("b19_waiting", "waiting"),
    "awaiting_callback": started("b19_awaiting_callback", "awaiting_callback"),
    "failed": failed("b15_process", "plain", "failed"),
    "api_unavailable": failed("b15_task", "api", "api_unavailable"),
    "inconsistent_data": failed("b15_task", "data", "inconsistent_data"),
}


@pytest.mark.parametrize("status", sorted(WAYS))
def test_b19_abort_works_from_every_unfinished_status(door: Door, kafka: KafkaDoor, status: str) -> None:
    """It is recorded with who asked for it, State stays, nothing follows; once more has no effect."""
    process_id = WAYS[status](kafka)
    before = door.wait(process_id)
    door.abort(process_id, user="jane", reason="cancelled")
    seen = door.wait(process_id, "aborted")
    last = seen.steps[-1]
    assert (last.name, last.status, last.created_by) == ("User aborted", "abort", "jane")
    assert (seen.state, seen.pending, seen.waiting_on, seen.form) == (before.state, (), None, None)
    door.abort(process_id, user="joe")
    assert door.wait(process_id, "aborted").outcomes == seen.outcomes


def test_b19_a_start_that_is_not_accepted_yet_can_be_aborted(door: Door, kafka: KafkaDoor, live: Live) -> None:
    """Nobody serves its queue: its sender is refused in the end, and the row says why."""
    process_id = kafka.start_later("b19_created", {"kind": "well"})
    kafka.wait(process_id, "created")
    door.abort(process_id)
    assert "aborted" in (door.wait(process_id, "rejected").failed_reason or "")


def test_b19_abort_wins_against_a_running_step(door: Door, live: Live) -> None:
    """The late result is kept as a note, never as progress."""
    process_id = door.start("b19_running")
    door.wait(process_id, until=lambda seen: len(seen.steps) == 2 and "at the gate" in door.told(process_id))
    door.abort(process_id, user="jane")
    before = door.wait(process_id, "aborted")
    door.open_gate(process_id)
    notes = "SELECT body FROM stepwire_engine.process_notes WHERE process_id = %s AND kind = 'late_result'"
    door.wait(process_id, until=lambda _: bool(live.sql(notes, process_id)))
    assert live.sql(notes, process_id)[0][0]["node"] == "3"
    after = door.wait(process_id)
    assert (after.outcomes, after.state) == (before.outcomes, before.state)
    assert "passed" not in after.state


def subscription(live: Live) -> UUID:
    """A subscription in sync."""
    found = live.sql("INSERT INTO subscriptions (insync, status) VALUES (true, 'active') RETURNING subscription_id")
    subscription_id: UUID = found[0][0]
    return subscription_id


def insync(live: Live, subscription_id: UUID) -> tuple[bool, UUID | None]:
    """Whether it is in sync, and which process has locked it."""
    rows = live.sql(
        "SELECT s.insync, l.owner FROM subscriptions s LEFT JOIN stepwire_engine.locks l "
        "ON l.key = 'subscription:' || s.subscription_id::text WHERE s.subscription_id = %s",
        subscription_id,
    )
    return rows[0][0], rows[0][1]


def test_b19_the_subscription_of_an_aborted_process_stays_out_of_sync(door: Door, live: Live) -> None:
    """Without owner: nobody works on it, and nobody may before it is set in sync."""
    subscription_id = subscription(live)
    process_id = door.start("b19_locked", {"subscription_id": str(subscription_id)})
    door.wait(process_id, until=lambda _: "at the gate" in door.told(process_id))
    assert insync(live, subscription_id) == (False, process_id)
    door.abort(process_id)
    door.wait(process_id, "aborted")
    assert insync(live, subscription_id) == (False, None)
    door.open_gate(process_id)


def test_b19_a_process_that_ends_well_unlocks_its_subscription(door: Door, live: Live) -> None:
    """In sync, without owner."""
    subscription_id = subscription(live)
    process_id = door.start("b19_locked", {"subscription_id": str(subscription_id)})
    door.open_gate(process_id)
    door.wait(process_id, "completed")
    assert insync(live, subscription_id) == (True, None)


def test_b23_a_note_is_kept_and_shown(door: Door, live: Live) -> None:
    """The last one is shown with the process, all are kept with who wrote them."""
    process_id = door.start("b19_suspended")
    door.wait(process_id, "suspended")
    for note in ("called the customer", "called again"):
        door.note(process_id, note, user="jane")
    body = live.request("GET", f"/api/processes/{process_id}").json()
    rows = live.sql(
        "SELECT body ->> 'note', created_by FROM stepwire_engine.process_notes WHERE process_id = %s ORDER BY id",
        process_id,
    )
    assert body["note"] == "called again"
    assert rows == [("called the customer", "jane"), ("called again", "jane")]


@contextmanager
def other_code(live: Live) -> Iterator[None]:
    """Both executors serve other code within the block, and afterwards the old one again."""
    live.restart(EXECUTORS, {APPENDED: "1", CHANGED: "1"})
    try:
        yield
    finally:
        live.restart(EXECUTORS, {APPENDED: "", CHANGED: ""})


def test_b22_code_may_change_under_waiting_processes(kafka: KafkaDoor, live: Live) -> None:
    """Steps appended at the end are executed; a change of what was executed waits for code that fits."""
    ended, waiting, changed = (kafka.start(name) for name in ("b22_appended", "b22_appended", "b22_changed"))
    for process_id in (ended, waiting, changed):
        kafka.wait(process_id, "suspended")
    kafka.resume(ended, {})
    assert kafka.wait(ended, "completed").state["said"] == ["before", "after"]
    with other_code(live):
        kafka.resume(waiting, {})
        kafka.order_later("ResumeProcess", changed, user_inputs=[{}])
        seen = kafka.wait(waiting, "completed")
        kafka.wait(changed, until=_waits_for_executor)
    assert (seen.state["said"], seen.outcomes[-1]) == (["before", "after", "appended"], ("Done", "complete"))
    assert kafka.wait(changed, "completed").state["said"] == ["before", "after"]


def _waits_for_executor(seen: Seen) -> bool:
    return (seen.waiting_on or {}).get("kind") == "executor"
