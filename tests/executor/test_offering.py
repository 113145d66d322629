"""What an executor says about the workflows it serves."""

from __future__ import annotations

from structlog.testing import capture_logs

from stepwire import StepList, done, init, step, workflow
from stepwire.chassis.logging import get_logger
from stepwire.flow.registry import Registry
from stepwire_executor.offering import tell_unreachable


@step("Tell the customer")
def tell_customer() -> None:
    """Say it."""


@workflow("Ends too early")
def ends_too_early() -> StepList:
    """The customer is never told."""
    return init >> done >> tell_customer >> done


@workflow("Ends in time")
def ends_in_time() -> StepList:
    """The customer is told."""
    return init >> tell_customer >> done


def test_steps_behind_the_end_are_told_with_their_workflow() -> None:
    """Where its author wrote it; of other workflows nothing is said."""
    with capture_logs() as said:
        tell_unreachable(Registry([ends_too_early, ends_in_time]), get_logger())
    (warning,) = said
    assert (warning["log_level"], warning["workflow"]) == ("warning", "ends_too_early")
    assert warning["steps"] == ["Tell the customer", "Done"]
    assert warning["where"] == str(ends_too_early.location)
