"""Input steps: asked, given, checked, taken or refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stepwire.contracts.reasons import Reason
from stepwire.process import Status
from tests.process import flows
from tests.process.kit import (
    checking_at,
    decided,
    ended,
    fault,
    logged,
    only_answer,
    only_entry,
    process_at,
    report,
    sets,
    words,
)


def test_input_suspends_the_process_with_its_form() -> None:
    """The operator sees what is asked, and of whom."""
    process = process_at(flows.asking, "3", failed_reason="before", traceback="t", progress="half")
    decision = decided(process, report(process, "suspend", form={"title": "T"}, assignee="NOC"))
    after = decision.process
    assert logged(decision) == [("3", "suspend")]
    assert only_entry(decision).name == "Confirm"
    assert words(decision) == ["suspended"]
    assert (after.status, after.runnable, after.form, after.assignee) == (
        Status.SUSPENDED,
        False,
        {"title": "T"},
        "NOC",
    )
    assert after.waiting_on == {"kind": "input", "detail": "Confirm", "who": "NOC"}
    assert (after.failed_reason, after.traceback, after.progress, after.node) == (None, None, None, "3")
    assert decision.answers == []


def test_accepted_input_answers_its_sender_and_goes_on() -> None:
    """Input is recorded as the success of its step, by whom it was given."""
    process = checking_at(flows.asking, "3")
    decision = decided(process, report(process, created_by="jane", delta=sets(ok=True)))
    after = decision.process
    assert logged(decision) == [("3", "success")]
    assert only_entry(decision).created_by == "jane"
    answer = only_answer(decision)
    assert (answer.command_id, answer.accepted, answer.reason) == ("resume-1", True, None)
    assert words(decision) == ["resumed"]
    assert (after.status, after.node, after.pending_command) == (Status.RUNNING, "4", None)
    assert (after.form, after.assignee, after.waiting_on) == (None, None, None)


def test_refused_input_changes_nothing_but_answers_its_sender() -> None:
    """The process waits on as before, and the sender learns what was wrong."""
    process = checking_at(flows.asking, "3")
    errors = [{"loc": ["a"], "msg": "wrong", "type": "value_error"}]
    error = fault("1 error", class_name="FormInvalid", errors=errors, reason="not_allowed")
    decision = decided(process, report(process, "rejected", error=error))
    answer = only_answer(decision)
    assert (answer.accepted, answer.reason, answer.detail, answer.errors) == (
        False,
        "not_allowed",
        "1 error",
        tuple(errors),
    )
    assert decision.entries == []
    assert decision.events == []
    waiting = {"kind": "input", "detail": "Confirm", "who": "NOC"}
    assert decision.process == replace(process, pending_command=None, runnable=False, waiting_on=waiting)


def test_refused_input_without_an_error_is_invalid_input() -> None:
    """The sender is always told a reason."""
    process = checking_at(flows.asking, "3", waiting_on=None)
    decision = decided(process, report(process, "rejected"))
    answer = only_answer(decision)
    assert (answer.reason, answer.detail, answer.errors) == (Reason.INVALID_INPUT, "the input is invalid", ())
    assert decision.process.waiting_on == {"kind": "input", "detail": "Confirm", "who": "NOC"}


@pytest.mark.parametrize("status", ["failed", "waiting"])
def test_input_whose_check_breaks_is_answered(status: str) -> None:
    """A form that raises fails its step; who gave the input must not wait for an answer for ever."""
    process = checking_at(flows.asking, "3")
    decision = decided(process, report(process, status, error=fault("no database")))
    answer = only_answer(decision)
    assert (answer.command_id, answer.accepted, answer.reason) == ("resume-1", False, Reason.INVALID_INPUT)
    assert answer.detail == "the input could not be checked: no database"
    after = decision.process
    assert (after.pending_command, after.form, after.assignee) == (None, None, None)
    assert (after.waiting_on or {"kind": "retry"})["kind"] == "retry"


def test_input_that_is_asked_for_again_is_answered() -> None:
    """A run that asks instead of checking must not leave the sender without an answer."""
    process = checking_at(flows.asking, "3")
    decision = decided(process, report(process, "suspend", form={"title": "T"}, assignee="NOC"))
    answer = only_answer(decision)
    assert (answer.accepted, answer.reason) == (False, Reason.INVALID_INPUT)
    assert answer.detail == "the input could not be checked: the step asks for it anew"
    assert (decision.process.status, decision.process.pending_command) == (Status.SUSPENDED, None)


def test_a_check_that_ended_early_goes_on_with_its_input() -> None:
    """The sender's command stays pending, and the process still says that it waits for input."""
    process = checking_at(flows.asking, "3")
    decision = decided(process, ended(process, "drain"))
    after = decision.process
    assert decision.dispatch
    assert (after.status, after.pending_command, after.waiting_on) == (
        Status.SUSPENDED,
        "resume-1",
        process.waiting_on,
    )
    assert decision.answers == []
