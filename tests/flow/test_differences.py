"""Where two versions of a workflow part is told in a sentence."""

from __future__ import annotations

from functools import reduce
from operator import rshift

import pytest

from stepwire import Retry, StepList, begin, conditional, inputstep, step, step_group, workflow
from stepwire.flow.differences import difference
from stepwire.flow.lists import Step
from stepwire.flow.manifest import Manifest


@step("Reserve")
def reserve() -> None:
    """Do nothing."""


@step("Order")
def order() -> None:
    """Do nothing."""


@step("Order", queue="slow")
def order_slowly() -> None:
    """Do nothing."""


@step("Order", retry=Retry(times=3))
def order_again() -> None:
    """Do nothing."""


@inputstep("Order", assignee="NOC")
def ask() -> None:
    """Ask for nothing."""


def version(*steps: Step | StepList) -> Manifest:
    """The workflow with these steps behind Start."""

    def create_node() -> StepList:
        return reduce(rshift, steps, begin)

    return workflow("Create node")(create_node).manifest


KNOWN = version(reserve, order)
CUT_OFF = Manifest(KNOWN.workflow, KNOWN.description, KNOWN.target, KNOWN.nodes[:2])


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (version(order, reserve), "node 2 was the step 'Reserve' and is the step 'Order' now"),
        (version(reserve, ask), "node 3 was the step 'Order' and is the input 'Order' now"),
        (version(reserve), "node 3 was the step 'Order' and is 'Done' now"),
        (CUT_OFF, "node 3 was the step 'Order' and the workflow ends before it now"),
        (version(reserve, order_slowly), "node 3 was the step 'Order' and differs in its queue now"),
        (version(reserve, conditional(bool)(order)), "node 3 was the step 'Order' and differs in its condition now"),
        (version(reserve, order_again), ""),
        (KNOWN, ""),
    ],
)
def test_the_first_node_that_is_another_is_named(found: Manifest, told: str) -> None:
    """With what it was and what it is; policies and what comes later make no difference."""
    assert difference(KNOWN, found, len(KNOWN.nodes)) == told


def test_only_what_was_executed_has_to_be_the_same() -> None:
    """A process before the change goes on by the new code."""
    assert difference(KNOWN, version(reserve, ask), 2) == ""
    assert difference(KNOWN, version(reserve, order, ask), 3) == ""


def test_a_group_differs_in_its_sub_steps() -> None:
    """They are part of what it means."""
    before, after = (version(step_group("Both", begin >> inner)) for inner in (reserve, order))
    assert difference(before, after, 2) == "node 2 was the group 'Both' and differs in its sub-steps now"
