"""A process whose code is gone stops and says so; it never goes on by other code."""

from __future__ import annotations

import pytest

from stepwire.contracts.reasons import Reason
from stepwire.process import Process, Status
from stepwire.process.happenings import CodeGone
from tests.process import flows
from tests.process.kit import (
    EPOCH,
    decided,
    failed_at,
    failed_entry,
    only_answer,
    only_entry,
    process_at,
    start_check,
    words,
)

MESSAGE = "node 2 was the step 'Reserve' and is the step 'Order' now"
RUNNING = process_at(flows.plain, "2", attempt=2)


def test_it_fails_at_its_position_with_the_difference() -> None:
    """A claim made since it was looked at is taken away; its lock stays with it, as with any failed process."""
    decision = decided(RUNNING, CodeGone(EPOCH, MESSAGE))
    after = decision.process
    assert only_entry(decision) == failed_entry("CodeGone", MESSAGE)
    assert words(decision) == ["failed"]
    assert decision.revoke is True
    assert (after.status, after.runnable, after.epoch) == (Status.FAILED, False, EPOCH + 1)
    assert (after.failed_reason, after.held_locks) == (MESSAGE, RUNNING.held_locks)


def test_a_start_whose_check_nobody_can_run_is_refused() -> None:
    """Its sender is told; no process is visible."""
    process = start_check(flows.checked)
    decision = decided(process, CodeGone(process.epoch, MESSAGE))
    assert decision.process.status is Status.REJECTED
    assert only_answer(decision).reason == Reason.NO_EXECUTOR


@pytest.mark.parametrize(
    ("process", "epoch"),
    [(RUNNING, EPOCH - 1), (failed_at(flows.plain, "2"), EPOCH), (process_at(flows.plain, "2", runnable=False), EPOCH)],
)
def test_one_that_has_moved_on_is_left_alone(process: Process, epoch: int) -> None:
    """Somebody had the code after all, or it waits for something else by now."""
    decision = decided(process, CodeGone(epoch, MESSAGE))
    assert (decision.process, decision.dropped) == (process, "passed")
