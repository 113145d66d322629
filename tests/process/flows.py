"""Real workflows the heart is tested with; none of their functions ever runs."""

from __future__ import annotations

from typing import Any

from stepwire import (
    StepList,
    Target,
    abort,
    begin,
    callback_step,
    conditional,
    inputstep,
    lock_subscription,
    lock_subscription_unchecked,
    relate_subscription,
    retrystep,
    step,
    step_group,
    unlock_subscription,
    with_lock,
    workflow,
)
from stepwire.flow.manifest import Manifest

CALLBACK_TIMEOUT_SECONDS = 60.0


@step("Reserve")
def reserve() -> None:
    """Do nothing."""


@step("Configure")
def configure() -> None:
    """Do nothing."""


@retrystep("Call the network")
def call() -> None:
    """Do nothing."""


@step("Measure", queue="slow")
def measure() -> None:
    """Do nothing."""


@inputstep("Confirm", assignee="NOC")
def confirm() -> None:
    """Do nothing."""


def form() -> None:
    """Stand for a form."""


def always(state: dict[str, Any]) -> bool:
    """Stand for a condition."""
    return bool(state)


order = callback_step("Order", reserve, configure, result_key="ordered", timeout=CALLBACK_TIMEOUT_SECONDS)
order_while_it_moves = callback_step("Order", reserve, configure, timeout=30.0, extended_by_progress=True)
order_for_ever = callback_step("Order", call, call)


@workflow("Two steps", target=Target.CREATE)
def plain() -> StepList:
    """Start, two steps, Done."""
    return begin >> reserve >> configure


@step("Careful", retry_auth_callback=always)
def careful() -> None:
    """Do nothing."""


@workflow("Retries are asked for", target=Target.CREATE)
def guarded() -> StepList:
    """A step and a group whose retry somebody has to allow, and a step of everybody's."""
    group = step_group("Group", begin >> reserve >> call, retry_auth_callback=always)
    return begin >> careful >> group >> configure


@workflow("A form first", initial_input_form=form, target=Target.CREATE)
def checked() -> StepList:
    """Start, a step, Done, behind a form."""
    return begin >> reserve


@workflow("A task")
def task() -> StepList:
    """Start, a step that is tried again, Done."""
    return begin >> call >> configure


@workflow("Input in the middle", target=Target.CREATE)
def asking() -> StepList:
    """Start, a step, an input, a step, Done."""
    return begin >> reserve >> confirm >> configure


@workflow("A callback in the middle", target=Target.CREATE)
def calling() -> StepList:
    """Start, a step, a callback with a timeout, one without, a step, Done."""
    return begin >> reserve >> order >> order_for_ever >> configure


@workflow("A callback that takes long", target=Target.CREATE)
def calling_slowly() -> StepList:
    """Start, a step, a callback whose time progress extends, a step, Done."""
    return begin >> reserve >> order_while_it_moves >> configure


@workflow("Changes a subscription", target=Target.MODIFY)
def modify() -> StepList:
    """Lock, work, unlock."""
    return relate_subscription >> lock_subscription >> reserve >> unlock_subscription


@workflow("Changes a subscription, with a form", initial_input_form=form, target=Target.MODIFY)
def modify_checked() -> StepList:
    """Lock, work, unlock, behind a form."""
    return relate_subscription >> lock_subscription >> reserve >> unlock_subscription


@workflow("Looks at a subscription", target=Target.VALIDATE)
def validate() -> StepList:
    """Lock it if it is free, look, unlock."""
    return relate_subscription >> lock_subscription_unchecked >> reserve >> unlock_subscription


@workflow("Locks late", target=Target.MODIFY)
def late_lock() -> StepList:
    """Work before the lock, and unlock before more work."""
    return begin >> reserve >> lock_subscription >> configure >> unlock_subscription >> call


@workflow("Never unlocks", target=Target.MODIFY)
def keeping() -> StepList:
    """Work before the lock, which nothing frees."""
    return begin >> reserve >> lock_subscription >> configure


@workflow("Everything under conditions", target=Target.MODIFY)
def choosing() -> StepList:
    """Conditions around a step, a callback, engine nodes and the end."""
    wrap = conditional(always)
    return (
        wrap(reserve)
        >> wrap(order)
        >> wrap(relate_subscription)
        >> wrap(lock_subscription)
        >> wrap(configure)
        >> wrap(unlock_subscription)
        >> wrap(abort)
        >> call
    )


@workflow("Two queues", target=Target.CREATE)
def queues() -> StepList:
    """A step of another queue in the middle."""
    return begin >> reserve >> measure >> configure


@workflow("Unlocks in the middle", target=Target.CREATE)
def unlocking() -> StepList:
    """The create workflow of a subscription."""
    return begin >> reserve >> unlock_subscription >> relate_subscription >> configure


@workflow("x, then y", target=Target.CREATE)
def x_then_y() -> StepList:
    """One lock within the other."""
    return begin >> with_lock("x")(reserve >> with_lock("y")(configure) >> call)


@workflow("y, then x", target=Target.CREATE)
def y_then_x() -> StepList:
    """The same locks the other way round."""
    return begin >> with_lock("y")(reserve >> with_lock("x")(configure)) >> call


@workflow("x beside a subscription's lock", target=Target.MODIFY, locks=["x"])
def x_inside_modify() -> StepList:
    """A lock of the whole workflow, and one that is refused where it is held."""
    inner = with_lock("y", on_conflict="reject")(reserve)
    return relate_subscription >> lock_subscription >> inner >> unlock_subscription


@workflow("x again and again", target=Target.CREATE)
def x_again() -> StepList:
    """What is held is had again, and freed where it was taken first; then it is taken anew."""
    return begin >> with_lock("x")(reserve >> with_lock("x")(configure) >> call) >> with_lock("x")(reserve)


@workflow("x under conditions", target=Target.CREATE)
def x_or_not() -> StepList:
    """A condition around a lock, and a lock that State names."""
    return begin >> conditional(always)(with_lock("x")(reserve >> confirm)) >> with_lock("{site}")(configure)


@workflow("x in a group", target=Target.CREATE)
def x_in_a_group() -> StepList:
    """A group that takes a lock and fails within it."""
    return begin >> with_lock("y")(
        step_group("Group", begin >> reserve >> with_lock("x")(confirm >> call)) >> configure
    )


@workflow("Unlocks and locks again", target=Target.MODIFY)
def relocking() -> StepList:
    """Two nodes of the engine that both need the database."""
    return begin >> unlock_subscription >> lock_subscription >> configure


@workflow("Ends as aborted", target=Target.CREATE)
def aborting() -> StepList:
    """A step, then the end."""
    return begin >> reserve >> abort


@workflow("Nothing to do", target=Target.CREATE)
def empty() -> StepList:
    """Start and Done."""
    return StepList()


@workflow("A group", target=Target.CREATE)
def grouped() -> StepList:
    """Two steps and an inner group beneath one visible step."""
    inner = step_group("Inner", begin >> confirm >> configure)
    return begin >> step_group("Group", begin >> reserve >> inner >> call) >> configure


@workflow("A group that goes on with what failed", target=Target.CREATE)
def going_on() -> StepList:
    """Two steps, a callback, an inner group that begins anew, and an input beneath one visible step."""
    inner = step_group("Inner", begin >> reserve >> call)
    outer = begin >> reserve >> order >> inner >> confirm >> call
    return begin >> step_group("Group", outer, retry_from="failed") >> configure


@workflow("Groups under conditions", target=Target.CREATE)
def choosing_groups() -> StepList:
    """Conditions around a group, and around what is in it; a group that begins with a callback."""
    wrap = conditional(always)
    inner = step_group("Inner", begin >> wrap(confirm) >> configure)
    outer = wrap(step_group("Group", wrap(order_for_ever) >> inner >> call))
    return outer >> step_group("Asking", begin >> order >> call)


def manifest_without_done() -> Manifest:
    """A manifest whose list just ends, as an older author's package may have stored it."""
    whole = plain.manifest
    return Manifest(whole.workflow, whole.description, whole.target, whole.nodes[:-1])
