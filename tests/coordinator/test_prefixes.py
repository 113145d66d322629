"""Which code may go on with a process: what it has executed must be the same."""

from __future__ import annotations

from typing import Any

import pytest

from stepwire.chassis.metrics import Metrics
from stepwire.process import Process, Status
from stepwire_coordinator.store.processes import executed_prefix
from stepwire_executor.plans import WorkflowPlan
from tests.process.kit import awaiting_at, failed_at, process_at, suspended_at
from tests.process.unit.test_groups import DEEP


@pytest.mark.parametrize(
    ("process", "executed"),
    [
        (process_at(DEEP, "0"), 0),
        (process_at(DEEP, "2.1"), 1),
        (process_at(DEEP, "2.2.1"), 2),
        (awaiting_at(DEEP, "2.2"), 2),
        (failed_at(DEEP, "2.2.2"), 2),
        (process_at(DEEP, "2.3.1"), 2),
        (process_at(DEEP, "2.4"), 2),
        (process_at(DEEP, "3"), 2),
        (suspended_at(DEEP, "3"), 3),
        (suspended_at(DEEP, "2.1"), 2),
    ],
)
def test_a_group_that_is_begun_must_stay_as_it_is(process: Process, executed: int) -> None:
    """So must a node in which a process waits; one that has not begun may be another."""
    assert executed_prefix(process) == DEEP.manifest.chain[executed]


def test_a_callback_step_that_has_not_begun_may_change() -> None:
    """Its action is the first thing of it that runs."""
    from_the_start: dict[str, Any] = {"status": Status.FAILED, "runnable": False}
    process = process_at(DEEP, "2.1", **from_the_start)
    assert executed_prefix(process) == DEEP.manifest.chain[1]


def test_code_with_another_beginning_of_the_next_node_goes_on_there() -> None:
    """Where the old version begins a plain step, the new one may begin the first sub-node of a group."""
    plan = WorkflowPlan(DEEP, Metrics())
    chain = DEEP.manifest.chain
    assert plan.place_of("2", chain[1]) == "2.1"
    assert plan.place_of("3.1", chain[2]) == "3"
    assert plan.place_of("2.2.1", chain[2]) == "2.2.1"
    assert plan.place_of("0", chain[0]) == "0"
