"""Workflows whose executors are played by the tests."""

from __future__ import annotations

from stepwire import (
    StepList,
    Target,
    callback_step,
    conditional,
    done,
    init,
    inputstep,
    lock_subscription,
    lock_subscription_unchecked,
    no_uncompleted_instance,
    relate_subscription,
    step,
    unlock_subscription,
    with_lock,
    workflow,
)


@step("First")
def first() -> None:
    """Do nothing."""


@step("Second")
def second() -> None:
    """Do nothing."""


@inputstep("Confirm", assignee="NOC")
def confirm() -> None:
    """Ask an operator."""


def form() -> None:
    """Ask for something at the start."""


@workflow("Two steps", target=Target.CREATE)
def two_steps() -> StepList:
    """Two plain steps."""
    return init >> first >> second >> done


@workflow("Two steps behind a form", initial_input_form=form)
def with_form() -> StepList:
    """A start that is checked by an executor."""
    return init >> first >> second >> done


@workflow("A callback")
def with_callback() -> StepList:
    """Wait for an outside system."""
    return init >> callback_step("Ask", first, second) >> second >> done


@workflow("An input")
def with_input() -> StepList:
    """Wait for an operator."""
    return init >> confirm >> second >> done


@workflow("Modify", target=Target.MODIFY)
def modify() -> StepList:
    """Lock the subscription at accept, work, unlock it."""
    return init >> relate_subscription >> lock_subscription >> first >> unlock_subscription >> done


@workflow("Modify with a form", target=Target.MODIFY, initial_input_form=form)
def modify_with_form() -> StepList:
    """Lock at accept, before the start is checked."""
    return init >> relate_subscription >> lock_subscription >> first >> unlock_subscription >> done


@workflow("Lock late", target=Target.MODIFY)
def lock_late() -> StepList:
    """Lock behind a step."""
    return init >> first >> lock_subscription >> second >> unlock_subscription >> done


@workflow("Relate, and lock late", target=Target.MODIFY)
def relate_and_lock_late() -> StepList:
    """Lock behind a step, known as one of the subscription's processes by then."""
    return init >> relate_subscription >> first >> lock_subscription >> second >> unlock_subscription >> done


@workflow("Never unlock", target=Target.MODIFY)
def never_unlock() -> StepList:
    """End with the lock still held."""
    return init >> lock_subscription >> first >> done


@workflow("Validate", target=Target.VALIDATE)
def validate() -> StepList:
    """Take the lock if it is free, and run without it if not."""
    return init >> relate_subscription >> lock_subscription_unchecked >> first >> unlock_subscription >> done


@workflow("Lock sometimes", target=Target.MODIFY)
def lock_sometimes() -> StepList:
    """Leave it to a condition whether to lock."""
    return init >> first >> conditional(bool)(lock_subscription) >> second >> done


@workflow("One at a time", target=Target.SYSTEM, run_predicate=no_uncompleted_instance)
def one_at_a_time() -> StepList:
    """Refuse to start while another one is unfinished."""
    return init >> first >> done


@workflow("A task", target=Target.SYSTEM)
def task() -> StepList:
    """Fail and be resumed with all others."""
    return init >> first >> done


@workflow("Use the pool", target=Target.CREATE)
def use_pool() -> StepList:
    """One process at a time works with the pool."""
    return init >> first >> with_lock("vlan-pool:ams")(second) >> done


@workflow("Use the pool or fail", target=Target.CREATE)
def use_pool_or_fail() -> StepList:
    """Do not wait for the pool."""
    return init >> first >> with_lock("vlan-pool:ams", on_conflict="reject")(second) >> done


@workflow("x, then y", target=Target.CREATE)
def x_then_y() -> StepList:
    """One lock within the other."""
    return init >> with_lock("x")(first >> with_lock("y")(second)) >> done


@workflow("y, then x", target=Target.CREATE)
def y_then_x() -> StepList:
    """The same locks the other way round."""
    return init >> with_lock("y")(first >> with_lock("x")(second)) >> done


@workflow("A lock that State names", target=Target.CREATE)
def named_by_state() -> StepList:
    """Only an executor can tell which lock it is."""
    return init >> with_lock("vlan-pool:{site}")(first) >> done
