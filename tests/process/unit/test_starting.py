"""How a process is born: accepted, refused, or kept waiting for its lock."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from stepwire.contracts.commands import process_id_of
from stepwire.contracts.reasons import Reason
from stepwire.process import Process, Status, accept_start
from stepwire.process.decision import LockWish, LogEntry
from stepwire.process.starting import conceive
from tests.process import flows
from tests.process.kit import (
    EPOCH,
    NOW,
    OTHER,
    PROCESS,
    SUBSCRIPTION,
    begun,
    decided,
    logged,
    only_answer,
    process_at,
    report,
    start,
    start_check,
    untouched,
    words,
)

TAKE = LockWish(take=True, subscription_id=SUBSCRIPTION)
FREE = LockWish(take=False, subscription_id=SUBSCRIPTION)
NAMED = {"subscription_id": str(SUBSCRIPTION)}


def test_a_process_is_what_its_command_asks_for() -> None:
    """Everything that is known at the start, and nothing accepted yet."""
    command = start(flows.plain, reporter="jane", labels={"a": "b"}, subscription_id=SUBSCRIPTION)
    process = conceive(command, flows.plain.manifest).process
    assert process == Process(
        process_id_of("start-1"),
        "plain",
        flows.plain.manifest,
        status=Status.CREATED,
        node="1",
        queue="default",
        command_id="start-1",
        pending_command="start-1",
        subscription_id=SUBSCRIPTION,
        reporter="jane",
        labels={"a": "b"},
    )
    assert (process.epoch, process.runnable, process.is_task) == (0, False, False)


def test_a_start_may_choose_the_id_of_its_process() -> None:
    """Else it follows from the command id."""
    assert conceive(start(flows.plain, process_id=PROCESS), flows.plain.manifest).process.id == PROCESS


def test_the_source_of_a_start_is_its_reporter() -> None:
    """Unless the command names one."""
    assert conceive(start(flows.plain), flows.plain.manifest).process.reporter == "crm"


def test_a_process_of_a_task_knows_that_it_is_one() -> None:
    """It may fail in other words, and be cleaned up."""
    assert conceive(start(flows.task), flows.task.manifest).process.is_task


@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        ([NAMED], SUBSCRIPTION),
        ([{}, NAMED], SUBSCRIPTION),
        ([NAMED, {"subscription_id": str(OTHER)}], SUBSCRIPTION),
        ([{"subscription_id": "none"}, NAMED], None),
        ([{"subscription_id": None}], None),
        ([{"subscription_id": ["x"]}], None),
        ([{"a": 1}], None),
        ([], None),
    ],
)
def test_the_first_page_that_names_a_subscription_counts(pages: list[dict[str, Any]], expected: UUID | None) -> None:
    """What is no id names none."""
    command = start(flows.checked, *pages)
    assert conceive(command, flows.checked.manifest).process.subscription_id == expected


def test_the_command_names_its_subscription_before_its_pages() -> None:
    """The field of the record is the explicit one."""
    command = start(flows.checked, NAMED, subscription_id=OTHER)
    assert conceive(command, flows.checked.manifest).process.subscription_id == OTHER


def test_a_start_without_check_is_accepted_at_once() -> None:
    """Start is recorded with what every process begins with, and the first step dispatched."""
    decision = begun(flows.plain, {}, process_id=PROCESS)
    after = decision.process
    answer = only_answer(decision)
    assert (answer.command_id, answer.accepted) == ("start-1", True)
    assert words(decision) == ["created", "started"]
    assert [event.data["status"] for event in decision.events] == ["created", "running"]
    assert decision.entries == [
        LogEntry(
            node="1",
            name="Start",
            status="success",
            attempt=1,
            epoch=0,
            set={
                "process_id": str(PROCESS),
                "reporter": "crm",
                "workflow_name": "plain",
                "workflow_target": "CREATE",
            },
            started_at=NOW,
            completed_at=NOW,
        )
    ]
    assert decision.dispatch
    assert (after.status, after.node, after.epoch, after.runnable) == (Status.RUNNING, "2", 1, True)
    assert (after.pending_command, after.log_seq, after.last_step) == (None, 1, "Start")
    assert decision.inputs == []
    assert decision.lock is None


def test_an_event_says_what_a_reader_needs() -> None:
    """Labels and subscriptions are part of every event, also when there are none."""
    decision = begun(flows.plain, subscription_id=SUBSCRIPTION, labels={"order": "7"}, process_id=PROCESS)
    assert decision.events[1].type == "stepwire.process.started"
    assert decision.events[1].data == {
        "process_id": str(PROCESS),
        "workflow": "plain",
        "status": "running",
        "step": "Start",
        "labels": {"order": "7"},
        "subscription_ids": [str(SUBSCRIPTION)],
    }
    bare = process_at(flows.plain, "3")
    assert decided(bare, report(bare)).events[0].data == {
        "process_id": str(PROCESS),
        "workflow": "plain",
        "status": "completed",
        "step": "Done",
        "labels": {},
        "subscription_ids": [],
    }


def test_a_subscription_that_only_the_command_names_is_in_state() -> None:
    """Steps read it there."""
    decision = begun(flows.plain, subscription_id=SUBSCRIPTION)
    assert decision.entries[0].set["subscription_id"] == str(SUBSCRIPTION)


def test_a_workflow_with_nothing_to_do_is_completed_at_once() -> None:
    """It was never started, because nothing of it ran."""
    decision = begun(flows.empty)
    assert words(decision) == ["created", "completed"]
    assert logged(decision) == [("1", "success"), ("2", "complete")]
    assert decision.process.status is Status.COMPLETED
    assert "process_id" in decision.entries[0].set
    assert decision.entries[1].set == {}


def test_pages_for_a_workflow_without_form_are_refused() -> None:
    """Its sender believes in a form that is not there."""
    decision = begun(flows.plain, {}, {"a": 1})
    answer = only_answer(decision)
    assert (answer.accepted, answer.reason) == (False, Reason.INVALID_INPUT)
    assert answer.detail == "workflow plain has no form; send [] or [{}]"
    assert decision.process.status is Status.REJECTED
    assert not any((decision.entries, decision.events, decision.inputs))
    assert not decision.dispatch


@pytest.mark.parametrize("pages", [[], [{}]])
def test_no_pages_are_no_input(pages: list[dict[str, Any]]) -> None:
    """Without a form `[]` and `[{}]` are both accepted."""
    assert begun(flows.checked, *pages).inputs == []
    assert begun(flows.plain, *pages).process.status is Status.RUNNING


def test_a_repeated_refusal_is_passed() -> None:
    """The record that ended the check may come again."""
    process = start_check(flows.checked, epoch=EPOCH)
    refused = decided(process, report(process, "rejected")).process
    decision = decided(refused, report(process, "rejected"))
    assert decision.dropped == "passed"
    assert untouched(refused, decision)


def test_the_accepting_hand_changes_nothing_it_is_given() -> None:
    """A start is a value, too."""
    command = start(flows.modify, subscription_id=SUBSCRIPTION)
    birth = conceive(command, flows.modify.manifest)
    before = replace(birth.process)
    accept_start(birth, command, NOW)
    assert birth.process == before
