"""Nodes of the engine as far as an executor has a part in them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from stepwire.domain.steps import backup_subscription
from stepwire.flow import runner
from stepwire.flow.errors import StepwireError
from stepwire.flow.locks import lock_name
from stepwire.flow.outcomes import StepOutcome
from stepwire_executor.runs import Run
from stepwire_executor.steps import Body, Execution


def _lock(execution: Execution) -> StepOutcome:
    """The lock is taken: keep the subscription as it was before anything is done to it."""
    run = execution.run
    backup = backup_subscription(execution.transaction.session, subscription_of(run), run.state)  # type: ignore[arg-type] # engine nodes run in threads
    return runner.conclude(execution.node.step, run.state, backup)


async def _lock_async(execution: Execution) -> StepOutcome:
    return _lock(execution)


def _reached(_execution: Execution) -> StepOutcome:
    return StepOutcome("success")


async def _reached_async(execution: Execution) -> StepOutcome:
    return _reached(execution)


def _named(execution: Execution) -> StepOutcome:
    """The lock that is to be taken has a name that State tells."""
    execution.lock = lock_name(execution.node.step, execution.run.state)
    return StepOutcome("success")


async def _named_async(execution: Execution) -> StepOutcome:
    return _named(execution)


NAMED = Body(_named, _named_async)
LOCK = Body(_lock, _lock_async)
REACHED = Body(_reached, _reached_async)
"""Its conditions are asked, the rest is the coordinator's."""


def subscription_of(run: Run) -> UUID:
    """The subscription a lock node is about.

    Raises:
        StepwireError: neither the process nor its State names one.
    """
    named = run.claim.subscription_id or run.state.get("subscription_id")
    try:
        return UUID(str(named))
    except ValueError:
        message = "State has no 'subscription_id': name the subscription at the start or return it from an earlier step"
        raise StepwireError(message) from None


def arguments_of(execution: Execution) -> dict[str, Any]:
    """What the coordinator needs to know about a node of the engine."""
    named = execution.run.state.get("subscription_id")
    arguments = {} if named is None else {"subscription_id": named}
    return arguments if execution.lock is None else {**arguments, "lock": execution.lock}
