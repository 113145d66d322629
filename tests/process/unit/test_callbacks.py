"""Callbacks, their news and their timeouts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from stepwire.process import Process, Status, advance
from stepwire.process.decision import LogEntry, Timer
from stepwire.process.happenings import CallbackProgressed
from tests.process import flows
from tests.process.kit import (
    EARLIER,
    EPOCH,
    NOW,
    awaiting_at,
    callback,
    decided,
    failed_at,
    logged,
    only_entry,
    process_at,
    suspended_at,
    timer,
    untouched,
    words,
)

AWAITING = awaiting_at(flows.calling, "3", attempt=2, progress="half", state_bytes=100)


def test_a_callback_is_recorded_and_validated_in_a_new_run() -> None:
    """Its payload is in State before the validation runs; the attempt stays, the epoch is new."""
    decision = decided(AWAITING, callback(attempt=2, payload_bytes=20))
    after = decision.process
    assert only_entry(decision) == LogEntry(
        node="3",
        name="Order",
        status="awaiting_callback",
        attempt=2,
        epoch=EPOCH,
        set={"ordered": {"serial": "X1"}},
        started_at=NOW,
        completed_at=NOW,
        created_by="vendor",
        body_hash=b"hash",
    )
    assert decision.dispatch
    assert words(decision) == ["resumed"]
    assert (after.status, after.node, after.attempt, after.epoch) == (Status.RUNNING, "3.2", 2, EPOCH + 1)
    assert (after.runnable, after.deadline, after.progress, after.waiting_on) == (True, None, None, None)
    assert (after.state_bytes, after.log_seq) == (120, AWAITING.log_seq + 1)


def test_a_callback_goes_under_the_usual_key_where_none_is_named() -> None:
    """A manifest that names no key means `callback_result`."""
    manifest = flows.calling.manifest
    nodes = tuple(replace(node, result_key=None) for node in manifest.nodes)
    process = replace(AWAITING, manifest=replace(manifest, nodes=nodes))
    assert only_entry(decided(process, callback(attempt=2))).set == {"callback_result": {"serial": "X1"}}


def test_a_payload_behind_a_lens_is_kept_beside_state() -> None:
    """Only an executor knows where the lens wants it."""
    manifest = flows.calling.manifest
    nodes = tuple(replace(node, focused=True) for node in manifest.nodes)
    decision = decided(replace(AWAITING, manifest=replace(manifest, nodes=nodes)), callback(attempt=2))
    entry = only_entry(decision)
    assert (entry.set, entry.payload, entry.body_hash) == ({}, {"serial": "X1"}, b"hash")
    assert decision.dispatch


@pytest.mark.parametrize(
    ("process", "node", "attempt"),
    [
        (AWAITING, "3", 1),
        (AWAITING, "3", 3),
        (AWAITING, "4", 2),
        (process_at(flows.calling, "3.2", attempt=2), "3", 2),
        (process_at(flows.calling, "3.1"), "3", 1),
        (failed_at(flows.calling, "3.2"), "3", 1),
        (process_at(flows.calling, "3.2", status=Status.ABORTED, runnable=False), "3", 1),
    ],
)
def test_a_callback_that_is_not_awaited_changes_nothing(process: Process, node: str, attempt: int) -> None:
    """Of another attempt, another step, or of an await that is over."""
    for event in (callback(node, attempt), CallbackProgressed(node, attempt, "new")):
        decision = decided(process, event)
        assert decision.dropped == "await_over"
        assert untouched(process, decision)


def test_a_callback_too_large_for_state_fails_its_step() -> None:
    """The error names the key; nothing of the payload is kept. What fits to the last byte does not."""
    awaiting = replace(AWAITING, state_bytes=90)
    fits = decided(awaiting, callback(attempt=2, payload_bytes=10, state_max_bytes=100))
    assert (fits.process.status, fits.process.state_bytes) == (Status.RUNNING, 100)
    decision = decided(awaiting, callback(attempt=2, payload_bytes=10, state_max_bytes=99))
    entry = only_entry(decision)
    message = "State would grow over its limit by the callback under key 'ordered'"
    assert (entry.node, entry.status, entry.created_by, entry.set) == ("3", "failed", "vendor", {})
    assert entry.error == {"class_name": "StateTooLarge", "message": message}
    assert (decision.process.status, decision.process.failed_reason) == (Status.FAILED, message)
    assert not decision.dispatch


def test_news_are_shown_while_the_step_waits() -> None:
    """The last word wins."""
    decision = decided(AWAITING, CallbackProgressed("3", 2, {"percent": 70}))
    assert decision.process == replace(AWAITING, progress={"percent": 70})
    assert not any((decision.entries, decision.events))


def test_news_may_give_the_outside_system_more_time() -> None:
    """Where the step says so, its whole time begins anew, and the timer with it."""
    process = awaiting_at(flows.calling_slowly, "3")
    decision = decided(process, CallbackProgressed("3", 1, "half"))
    until = NOW + timedelta(seconds=30)
    assert decision.timers == [Timer("callback_timeout", until)]
    waiting = {"kind": "callback", "detail": "Order", "until": until.isoformat()}
    assert decision.process == replace(process, progress="half", deadline=until, waiting_on=waiting)


@pytest.mark.parametrize(
    ("process", "deadline"),
    [
        (awaiting_at(flows.calling_slowly, "3", deadline=EARLIER), EARLIER),
        (awaiting_at(flows.calling_slowly, "3", deadline=None), None),
        (awaiting_at(flows.calling, "3"), NOW),
    ],
)
def test_news_give_no_time_to_what_has_none_left(process: Process, deadline: datetime | None) -> None:
    """An await that is over stays over until its timer says so; one without limit, or that stays, has no timer."""
    decision = decided(process, CallbackProgressed("3", 1, "half"))
    assert (decision.timers, decision.process.deadline, decision.process.progress) == ([], deadline, "half")


def test_an_await_times_out_at_its_deadline() -> None:
    """Not before, and then with a reason; a retry begins a new attempt."""
    process = replace(AWAITING, form={}, assignee="a", traceback="t")
    decision = decided(process, timer(process, "callback_timeout"))
    entry = only_entry(decision)
    after = decision.process
    assert logged(decision) == [("3", "failed")]
    assert (entry.name, entry.attempt, entry.created_by) == ("Order", 2, None)
    assert entry.error == {"class_name": "CallbackTimeout", "message": "Callback timed out"}
    assert words(decision) == ["failed"]
    assert (after.status, after.runnable, after.failed_reason) == (Status.FAILED, False, "Callback timed out")
    assert (after.deadline, after.progress, after.waiting_on, after.traceback) == (None, None, None, None)
    assert (after.form, after.assignee, after.node, after.attempt, after.epoch) == (None, None, "3.2", 2, EPOCH)


def test_a_timeout_that_fires_early_is_set_again() -> None:
    """The database's clock may be set back; the await must still end some day."""
    decision = advance(AWAITING, timer(AWAITING, "callback_timeout"), EARLIER)
    assert decision.timers == [Timer("callback_timeout", NOW)]
    assert decision.process == AWAITING
    assert not any((decision.entries, decision.events))


@pytest.mark.parametrize(
    "process",
    [
        awaiting_at(flows.calling, "4", deadline=None),
        process_at(flows.calling, "3.2", deadline=NOW),
        failed_at(flows.calling, "3.2", deadline=NOW),
        suspended_at(flows.asking, "3", deadline=NOW),
    ],
)
def test_a_timeout_without_an_await_is_stale(process: Process) -> None:
    """Whatever it was set for is over."""
    decision = decided(process, timer(process, "callback_timeout"))
    assert decision.dropped == "stale_timer"
    assert untouched(process, decision)


def test_an_accepted_callback_beats_a_deadline_that_has_passed() -> None:
    """What was accepted in time counts, however late it is applied."""
    decision = advance(AWAITING, callback(attempt=2), NOW + timedelta(hours=1))
    assert decision.process.status is Status.RUNNING
