"""Groups: where they begin, what follows their sub-nodes, how they are retried and skipped."""

from __future__ import annotations

from typing import Any

import pytest

from stepwire.flow.lists import Step, StepList
from stepwire.flow.steps import (
    begin,
    callback_step,
    conditional,
    done,
    init,
    lock_subscription,
    step,
    step_group,
    unlock_subscription,
)
from stepwire.flow.workflows import Workflow, workflow
from stepwire.process import Decision, Process, Status
from stepwire.process.walk import begun_again, entered, first_position, following
from tests.process.kit import SUBSCRIPTION, decided, ended, failed_at, logged, process_at, report, resume, skip


def named(name: str, **options: Any) -> Step:
    """A step of that name."""

    @step(name, **options)
    def act() -> None:
        """Do nothing."""

    return act


def listed(*parts: Step | StepList) -> Workflow:
    """A workflow of these parts."""

    @workflow("Groups")
    def grouped() -> StepList:
        whole = begin
        for part in parts:
            whole = whole >> part
        return init >> whole >> done

    return grouped


ANSWER = callback_step("Answer", named("Ask"), named("Check"))
# 2: a group of a step, a callback, a group of two, and a step on another queue; 3: a step.
DEEP = listed(
    step_group(
        "Outer",
        named("One") >> ANSWER >> step_group("Inner", named("Two") >> named("Three")) >> named("Four", queue="far"),
    ),
    named("After"),
)


@pytest.mark.parametrize(
    ("path", "after"),
    [
        ("1", "2"),
        ("2", "3"),
        ("2.1", "2.2"),
        ("2.2", "2.3"),
        ("2.2.1", "2.3"),
        ("2.2.2", "2.3"),
        ("2.3.1", "2.3.2"),
        ("2.3.2", "2.4"),
        ("2.4", "3"),
        ("3", "4"),
        ("4", None),
    ],
)
def test_what_follows(path: str, after: str | None) -> None:
    """The next of the group, then what follows the group; parts of a callback step are followed by what follows it."""
    node = following(DEEP.manifest, path)
    assert (node and node.path) == after


@pytest.mark.parametrize(("path", "first"), [("1", "1"), ("2", "2.1"), ("2.2", "2.2.1"), ("2.3", "2.3.1"), ("3", "3")])
def test_where_execution_begins(path: str, first: str) -> None:
    """With the first of the first."""
    assert first_position(DEEP.manifest.node(path)) == first


def test_a_condition_on_the_way_is_known() -> None:
    """It may be that of the group around."""
    asked = conditional(lambda _: True)(step_group("Asked", lock_subscription))
    lists = [listed(step_group("All", lock_subscription)), listed(asked)]
    found = [entered(one.manifest.node("2")) for one in lists]
    assert [(node.path, on_the_way) for node, on_the_way in found] == [("2.1", False), ("2.1", True)]


@pytest.mark.parametrize(
    ("outer", "inner", "path", "again"),
    [
        ("first", "first", "2.2.2", "2"),
        ("first", "failed", "2.2.2", "2"),
        ("failed", "first", "2.2.2", "2.2"),
        ("failed", "failed", "2.2.2", "2.2.2"),
        ("failed", "first", "2.1", "2.1"),
        ("failed", "first", "2.3.2", "2.3"),
    ],
)
def test_what_a_retry_begins_with(outer: str, inner: str, path: str, again: str) -> None:
    """The whole group, or the failed one of its sub-nodes; a callback step is never begun in its middle."""
    members = named("One") >> step_group("Inner", named("Two") >> named("Three"), retry_from=inner) >> ANSWER
    grouped = listed(step_group("Outer", members, retry_from=outer))
    assert begun_again(grouped.manifest, path).path == again


def well(process: Process) -> Decision:
    """What a success at the position makes of the process."""
    return decided(process, report(process))


def test_the_sub_steps_of_a_group_share_its_attempt() -> None:
    """A result moves the position within the group; leaving it begins with attempt 1."""
    process = well(process_at(DEEP, "2.1", attempt=3)).process
    assert (process.node, process.attempt) == ("2.2.1", 3)
    process = well(process_at(DEEP, "2.4", attempt=3, queue="far")).process
    assert (process.node, process.attempt) == ("3", 1)


def test_a_sub_step_of_another_queue_is_dispatched() -> None:
    """The executor has ended its run before it."""
    decision = well(process_at(DEEP, "2.3.2"))
    assert (decision.dispatch, decision.process.node, decision.process.queue) == (True, "2.4", "far")


def test_a_run_that_ends_within_a_group_goes_on_there() -> None:
    """After a pause nothing is repeated, and nothing is left out."""
    process = process_at(DEEP, "2.3.2", attempt=3)
    decision = decided(process, ended(process, "pause"))
    after = decision.process
    assert (decision.dispatch, after.node, after.attempt, after.epoch) == (True, "2.3.2", 3, process.epoch + 1)
    assert decision.undone is None


def test_a_retry_begins_the_group_anew() -> None:
    """One attempt more, from its first sub-step."""
    failed = failed_at(DEEP, "2.3.2")
    process = decided(failed, resume(failed)).process
    assert (process.node, process.attempt, process.status) == ("2.1", 2, Status.RUNNING)


@pytest.mark.parametrize(("gate", "position", "after"), [("2", "2.1", "3"), ("2.3", "2.3.1", "2.4")])
def test_a_group_is_skipped_as_a_whole(gate: str, position: str, after: str) -> None:
    """The executor reports it at the position it was entered at."""
    process = process_at(DEEP, position)
    decision = decided(process, report(process, "skipped", node=gate))
    assert (decision.entries[0].node, decision.process.node) == (gate, after)


def test_a_group_skipped_by_hand_is_left() -> None:
    """All of it."""
    failed = failed_at(DEEP, "2.3.1")
    assert decided(failed, skip(failed, "2")).process.node == "3"


@pytest.mark.parametrize(
    ("failed", "named", "row", "after"),
    [
        ("2.3.1", "2.3.1", "2.3.1", "2.3.2"),
        ("2.3.1", "2.3", "2.3", "2.4"),
        ("2.4", "2.4", "2.4", "3"),
        ("2.2.2", "2.2.2", "2.2", "2.3.1"),
        ("2.2.1", "2.2", "2.2", "2.3.1"),
    ],
)
def test_a_sub_step_skipped_by_hand_is_left(failed: str, named: str, row: str, after: str) -> None:
    """The rest of its group follows; of a callback step or an inner group that is named, it is all of it."""
    process = failed_at(DEEP, failed, attempt=2)
    decision = decided(process, skip(process, named, state={"a": 1}))
    assert logged(decision)[0] == (row, "skipped")
    assert (decision.process.node, decision.dispatch) == (after, True)


def test_the_engine_performs_its_nodes_inside_a_group() -> None:
    """The lock is wished for when the group is entered, and given back when it is met."""
    grouped = listed(named("One"), step_group("Locked", lock_subscription >> named("Two") >> unlock_subscription))
    entering = well(process_at(grouped, "2", subscription_id=SUBSCRIPTION))
    assert (entering.process.node, entering.lock and entering.lock.take) == ("3.1", True)
    leaving = well(process_at(grouped, "3.2", subscription_id=SUBSCRIPTION))
    assert (leaving.process.node, leaving.lock and leaving.lock.take) == ("3.3", False)
