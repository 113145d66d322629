"""A process as a value, and the order of its positions."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any, get_args
from uuid import UUID

import pytest

from stepwire.contracts.steps import StepStatusWord
from stepwire.flow.types import ENGINE_KINDS
from stepwire.process import FINISHED, Status, walk
from stepwire.process.advance import PRECEDENCE, RULES, Event
from stepwire.process.model import order_of, parent_of, process_of, subscription_lock, subscription_of, top_of
from stepwire.process.results import APPLY, REPORTED
from tests.process import flows
from tests.process.kit import SUBSCRIPTION, decided, failed_at, logged, process_at, reached, report, resume, skip

ORDERED = [
    ("0", 1),
    ("1", 1),
    ("2", 1),
    ("2", 2),
    ("4", 1),
    ("4.1", 1),
    ("4.1.9", 1),
    ("4.2", 1),
    ("4.10", 1),
    ("4", 2),
    ("4.1", 2),
    ("4.1", 10),
    ("10", 1),
]
SHUFFLED = ORDERED[::-2] + ORDERED[::-1][1::2]


def test_positions_are_ordered_by_node_then_attempt_then_sub_node() -> None:
    """Numbers, not words: node 10 comes after node 4, and a retry after every sub-node of the attempt before."""
    assert sorted(SHUFFLED, key=lambda place: order_of(*place)) == ORDERED
    assert len({order_of(*place) for place in ORDERED}) == len(ORDERED)


def test_a_path_knows_its_parent_and_its_top() -> None:
    """Of a sub-node the node it belongs to; of a top-level node nothing, and itself."""
    assert [parent_of(path) for path in ("4", "4.2", "4.2.1")] == ["", "4", "4.2"]
    assert [top_of(path) for path in ("4", "4.2", "4.2.1")] == ["4", "4", "4"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"subscription_id": str(SUBSCRIPTION)}, SUBSCRIPTION),
        ({"subscription_id": SUBSCRIPTION}, SUBSCRIPTION),
        ({"subscription_id": "x"}, None),
        ({"subscription_id": 7}, None),
        ({"subscription_id": None}, None),
        ({}, None),
    ],
)
def test_a_subscription_is_named_by_a_uuid(values: dict[str, Any], expected: UUID | None) -> None:
    """Anything else names none."""
    assert subscription_of(values) == expected


def test_the_lock_of_a_subscription_has_its_name() -> None:
    """The key says what kind of thing is locked."""
    assert subscription_lock(SUBSCRIPTION) == "subscription:00000000-0000-0000-0000-000000000007"


def test_a_process_is_made_of_its_values() -> None:
    """The same as the constructor makes, and one of its own."""
    process = process_at(flows.plain, "4", status=Status.WAITING, labels={"order": "4711"})
    made = process_of(vars(process))
    assert made == process
    assert vars(made) is not vars(process)


def test_a_process_cannot_be_changed() -> None:
    """A decision has a new one; the old one stays what it was."""
    process = process_at(flows.plain, "2")
    with pytest.raises(FrozenInstanceError):
        process.node = "3"  # type: ignore[misc] # that is what must not work


@pytest.mark.parametrize("status", list(Status))
def test_finished_is_completed_aborted_or_rejected(status: Status) -> None:
    """Nothing will ever happen to such a process again."""
    process = process_at(flows.plain, "2", status=status)
    assert process.finished is (status in {Status.COMPLETED, Status.ABORTED, Status.REJECTED})
    assert process.finished is (status in FINISHED)


def test_every_event_has_a_rule_and_a_precedence() -> None:
    """An event nobody thought of would break a batch."""
    events = set(get_args(Event))
    assert RULES.keys() == events
    assert set(PRECEDENCE) == events
    assert len(PRECEDENCE) == len(events)


def test_ties_are_decided_by_kind() -> None:
    """Abort beats a result, and a callback its timeout."""
    names = [kind.__name__ for kind in PRECEDENCE]
    assert names[0] == "AbortProcess"
    assert names[-1] == "TimerFired"
    assert names.index("StepReported") < names.index("ResumeProcess") < names.index("ClaimLost")
    assert names.index("CallbackArrived") < names.index("TimerFired")


def test_every_word_of_an_executor_has_a_rule() -> None:
    """Each status it may report, and each kind of record it may send."""
    assert {kind.__name__ for kind in APPLY} == {"StepReported", "EngineNodeReached", "RunEnded", "StepProgressed"}
    assert set(REPORTED) == set(get_args(StepStatusWord))


def test_every_node_of_the_engine_can_be_performed() -> None:
    """Of the kinds the language calls the engine's, none is forgotten."""
    assert set(walk.PERFORM) == ENGINE_KINDS


def test_a_group_is_walked_step_by_step() -> None:
    """Its sub-steps keep its attempt; behind the last one comes the next node of the list."""
    process = process_at(flows.grouped, "2.1", attempt=3)
    inner = decided(process, report(process)).process
    assert (inner.node, inner.attempt) == ("2.2.1", 3)
    second = decided(inner, report(inner)).process
    assert (second.node, second.attempt) == ("2.2.2", 3)
    third = decided(second, report(second)).process
    assert (third.node, third.attempt) == ("2.3", 3)
    last = decided(third, report(third)).process
    assert (last.node, last.attempt) == ("3", 1)


def test_a_retried_group_begins_with_its_first_sub_step() -> None:
    """As a new attempt of the whole."""
    process = failed_at(flows.grouped, "2.2.2", attempt=3)
    after = decided(process, resume(process)).process
    assert (after.node, after.attempt) == ("2.1", 4)


def test_a_skipped_group_is_left_as_a_whole() -> None:
    """By its condition before its first sub-step, or by an operator after a failure."""
    process = process_at(flows.grouped, "2.1")
    by_condition = decided(process, report(process, "skipped", node="2"))
    assert logged(by_condition) == [("2", "skipped")]
    assert by_condition.process.node == "3"
    failed = failed_at(flows.grouped, "2.3")
    by_hand = decided(failed, skip(failed, "2"))
    assert logged(by_hand) == [("2", "skipped")]
    assert by_hand.process.node == "3"


def test_what_an_executor_reaches_is_decided_by_the_manifest() -> None:
    """A node of the engine is performed by its kind."""
    process = process_at(flows.choosing, "4", subscription_id=SUBSCRIPTION)
    assert decided(process, reached(process)).relations == [SUBSCRIPTION]
