"""Locks: of subscriptions and of what authors name, refused and queued."""

from __future__ import annotations

from stepwire import FormPage, StepList, done, init, step, step_group, with_lock, workflow
from tests.behaviours.workflows.b_processes import FormGenerator, at_gate
from tests.behaviours.workflows.tools import is_open, say, tell


class Pools(FormPage):
    """Which pools it works on."""

    first: str
    second: str = "none"


def pools_form() -> FormGenerator:
    """Ask which pools."""
    page = yield Pools
    return dict(page.model_dump())


@workflow("Works on a pool", initial_input_form=pools_form)
def lock_queued() -> StepList:
    """One at a time."""
    return init >> say("before") >> with_lock("pool:{first}")(say("in") >> at_gate) >> say("after") >> done


@workflow("Works on a pool or not at all", initial_input_form=pools_form)
def lock_rejected() -> StepList:
    """Refused while another one works."""
    locked = with_lock("pool:{first}", on_conflict="reject")
    return init >> locked(say("in") >> at_gate) >> say("after") >> done


@workflow("Works on a pool in a group", initial_input_form=pools_form)
def lock_in_group() -> StepList:
    """The lock is taken within the group."""
    return init >> step_group("Both", say("one") >> with_lock("pool:{first}")(at_gate)) >> say("after") >> done


@workflow("Works on a pool as a whole", initial_input_form=pools_form, locks=["pool:{first}"])
def lock_workflow() -> StepList:
    """From the first step to the last."""
    return init >> say("in") >> at_gate >> done


@workflow("Works on two pools", initial_input_form=pools_form)
def lock_two() -> StepList:
    """The second while it has the first."""
    inner = with_lock("pool:{second}")(say("both"))
    return init >> with_lock("pool:{first}")(at_gate >> inner) >> say("after") >> done


@step("Fail while it is locked")
def fail_locked() -> None:
    """Fail while the gate is closed."""
    tell("tried")
    if not is_open():
        raise RuntimeError("the gate is closed")


@workflow("Fails with its pool", initial_input_form=pools_form)
def lock_failing() -> StepList:
    """Keeps the lock."""
    return init >> with_lock("pool:{first}")(fail_locked) >> say("after") >> done
