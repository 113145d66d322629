"""B. Processes, 17, 19, 22 and 23: skip, abort from everywhere, code that changes under waiting processes, notes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest

from tests.behaviours.doors import HttpDoor, KafkaDoor, Live
from tests.behaviours.driver import Driver, Refused, Seen
from tests.behaviours.workflows.b_processes import APPENDED, CHANGED

EXECUTORS = ("executor-1", "executor-2")
QUEUES = "STEPWIRE_QUEUES"


def started(workflow: str, status: str) -> Callable[[Driver], UUID]:
    """How to get a process of a workflow into a status."""

    def start(driver: Driver) -> UUID:
        process_id = driver.start(workflow)
        driver.wait(process_id, status)
        return process_id

    return start


def failed(workflow: str, kind: str, status: str) -> Callable[[Driver], UUID]:
    """How to get a process into a kind of failure."""

    def start(driver: Driver) -> UUID:
        process_id = driver.start(workflow, {"kind": kind})
        driver.wait(process_id, status)
        return process_id

    return start


def running(driver: Driver) -> UUID:
    """A process whose step stands at the gate."""
    process_id = driver.start("b19_running")
    # The step before it has been recorded, too: what is recorded later would look like progress.
    driver.wait(process_id, until=lambda seen: len(seen.steps) == 2 and "at the gate" in driver.told(process_id))
    return process_id


WAYS = {
    "running": running,
    "suspended": started("b19_suspended", "suspended"),
    "waiting": started("b19_waiting", "waiting"),
    "awaiting_callback": started("b19_awaiting_callback", "awaiting_callback"),
    "failed": failed("b15_process", "plain", "failed"),
    "api_unavailable": failed("b15_task", "api", "api_unavailable"),
    "inconsistent_data": failed("b15_task", "data", "inconsistent_data"),
}


@pytest.mark.parametrize("status", sorted(WAYS))
def test_b19_abort_works_from_every_unfinished_status(driver: Driver, status: str) -> None:
    """It is recorded with who asked for it, State stays, nothing follows; once more has no effect."""
    process_id = WAYS[status](driver)
    before = driver.wait(process_id)
    driver.abort(process_id, user="jane", reason="cancelled")
    seen = driver.wait(process_id, "aborted")
    last = seen.steps[-1]
    assert (last.name, last.status, last.created_by) == ("User aborted", "abort", "jane")
    assert (seen.state, seen.pending, seen.waiting_on, seen.form) == (before.state, (), None, None)
    assert "cancelled" in (seen.failed_reason or "")
    driver.abort(process_id, user="joe")
    assert driver.wait(process_id, "aborted").outcomes == seen.outcomes
    driver.open_gate(process_id)


def test_b19_what_nobody_serves_can_be_aborted(door: HttpDoor | KafkaDoor) -> None:
    """It runs as far as it goes without an executor."""
    process_id = door.start("b19_unserved")
    door.wait(process_id, "running")
    door.abort(process_id)
    assert door.wait(process_id, "aborted").steps[-1].name == "User aborted"


def test_b19_a_start_that_is_not_accepted_yet_can_be_aborted(door: HttpDoor | KafkaDoor, kafka: KafkaDoor) -> None:
    """Nobody serves its queue: its sender is refused in the end, and the row says why."""
    process_id = kafka.start_later("b19_created", {"kind": "well"})
    kafka.wait(process_id, "created")
    door.abort(process_id)
    assert "aborted" in (door.wait(process_id, "rejected").failed_reason or "")


def late_results(driver: Driver, process_id: UUID) -> list[dict[str, Any]]:
    """The results of a process that came too late."""
    return [body for kind, body, _ in driver.notes(process_id) if kind == "late_result"]


def test_b19_abort_wins_against_a_running_step(driver: Driver) -> None:
    """The late result is kept as a note, never as progress."""
    process_id = running(driver)
    driver.abort(process_id, user="jane")
    before = driver.wait(process_id, "aborted")
    driver.open_gate(process_id)
    driver.wait(process_id, until=lambda _: bool(late_results(driver, process_id)))
    assert [result["node"] for result in late_results(driver, process_id)] == ["3"]
    after = driver.wait(process_id)
    assert (after.outcomes, after.state) == (before.outcomes, before.state)
    assert "passed" not in after.state


def test_b19_the_subscription_of_an_aborted_process_stays_out_of_sync(driver: Driver) -> None:
    """Without owner: nobody works on it, and nobody may before it is set in sync."""
    subscription_id = driver.subscription()
    process_id = driver.start("b19_locked", {"subscription_id": str(subscription_id)})
    driver.wait(process_id, until=lambda _: "at the gate" in driver.told(process_id))
    assert driver.owner(subscription_id) == (False, process_id)
    driver.abort(process_id)
    driver.wait(process_id, "aborted")
    assert driver.owner(subscription_id) == (False, None)
    with pytest.raises(Refused) as refused:
        driver.start("b19_locked", {"subscription_id": str(subscription_id)})
    assert refused.value.reason == "subscription.not_in_sync"
    driver.open_gate(process_id)


def test_b19_a_process_that_ends_well_unlocks_its_subscription(driver: Driver) -> None:
    """In sync, without owner."""
    subscription_id = driver.subscription()
    process_id = driver.start("b19_locked", {"subscription_id": str(subscription_id)})
    driver.open_gate(process_id)
    driver.wait(process_id, "completed")
    assert driver.owner(subscription_id) == (True, None)


def test_b19_of_many_simultaneous_starts_on_a_subscription_one_wins(driver: Driver) -> None:
    """The others are refused with the holder; a failed one would keep the lock."""
    subscription_id = driver.subscription()

    def start(_: int) -> UUID | tuple[str, str | None]:
        try:
            return driver.start("b19_locked", {"subscription_id": str(subscription_id)})
        except Refused as refused:
            return refused.reason, refused.holder

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(start, range(6)))
    started = [answer for answer in answers if isinstance(answer, UUID)]
    assert (len(started), answers.count(("subscription_locked", str(started[0])))) == (1, 5)
    driver.open_gate(started[0])
    driver.wait(started[0], "completed")


def test_b23_notes_are_kept(driver: Driver) -> None:
    """All of them, with who wrote them, whatever has become of the process."""
    process_id = driver.start("b19_suspended")
    driver.wait(process_id, "suspended")
    driver.note(process_id, "called the customer", user="jane")
    driver.abort(process_id)
    driver.note(process_id, "called again", user="joe")
    assert [note for note in driver.notes(process_id) if note[0] == "note"] == [
        ("note", {"note": "called the customer"}, "jane"),
        ("note", {"note": "called again"}, "joe"),
    ]


def test_b23_the_last_note_is_shown(door: HttpDoor | KafkaDoor, live: Live) -> None:
    """With the process."""
    process_id = door.start("d31_no_form")
    for note in ("first", "second"):
        door.note(process_id, note, user="jane")
    assert live.request("GET", f"/api/processes/{process_id}").json()["note"] == "second"


def test_b17_a_failed_step_is_skipped_by_hand(driver: Driver) -> None:
    """With what it would have changed, the reason and who did it; what has not failed cannot be skipped."""
    process_id = driver.start("b15_process", {"kind": "plain"})
    driver.wait(process_id, "failed")
    with pytest.raises(Refused) as refused:
        driver.skip(process_id, "2", {}, reason="the wrong one")
    assert (refused.value.reason, refused.value.status in (409, None)) == ("wrong_status", True)
    driver.skip(process_id, "3", {"went": "by hand"}, reason="ticket 99", user="jane")
    seen = driver.wait(process_id, "completed")
    skipped = seen.step("Go the way")
    assert (skipped.status, skipped.created_by, skipped.changed) == ("skipped", "jane", {"went": "by hand"})
    assert (seen.state["went"], seen.state["said"], seen.failed_reason) == ("by hand", ["before", "after"], None)
    assert ("step_skipped", {"node": "3", "reason": "ticket 99"}, "jane") in driver.notes(process_id)
    with pytest.raises(Refused) as refused:
        driver.skip(process_id, "3", {}, reason="once more")
    assert refused.value.reason == "wrong_status"


@contextmanager
def other_code(live: Live) -> Iterator[None]:
    """Both executors serve other code and one more queue within the block, and afterwards the old one again."""
    live.restart(EXECUTORS, {APPENDED: "1", CHANGED: "1", QUEUES: "default,nowhere"})
    try:
        yield
    finally:
        live.restart(EXECUTORS, {APPENDED: "", CHANGED: "", QUEUES: "default"})


def test_b22_code_may_change_under_waiting_processes(kafka: KafkaDoor, live: Live) -> None:
    """Steps appended at the end are executed; a change of what was executed waits for code that fits.

    What nobody has served yet starts by itself when somebody does (18).
    """
    ended, waiting, changed = (kafka.start(name) for name in ("b22_appended", "b22_appended", "b22_changed"))
    created, unserved = kafka.start_later("b19_created", {"kind": "well"}), kafka.start("b19_unserved")
    for process_id in (created, unserved):
        kafka.wait(process_id, until=_waits_for_executor)
    for process_id in (ended, waiting, changed):
        kafka.wait(process_id, "suspended")
    kafka.resume(ended, {})
    assert kafka.wait(ended, "completed").state["said"] == ["before", "after"]
    with other_code(live):
        kafka.resume(waiting, {})
        kafka.order_later("ResumeProcess", changed, user_inputs=[{}])
        seen = kafka.wait(waiting, "completed")
        kafka.wait(changed, until=_waits_for_executor)
        for process_id in (created, unserved):
            kafka.wait(process_id, "completed")
    assert (seen.state["said"], seen.outcomes[-1]) == (["before", "after", "appended"], ("Done", "complete"))
    assert kafka.wait(changed, "completed").state["said"] == ["before", "after"]


def _waits_for_executor(seen: Seen) -> bool:
    return (seen.waiting_on or {}).get("kind") == "executor"
