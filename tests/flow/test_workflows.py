"""Workflows: completion, definition errors, steps by path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stepwire import (
    StepList,
    Target,
    Workflow,
    abort,
    begin,
    callback_step,
    conditional,
    done,
    focussteps,
    init,
    step,
    step_group,
    workflow,
)
from stepwire.flow.errors import DefinitionError, StepwireError, UnknownNode
from stepwire.flow.runner import call_sync


@step("A")
def one(x: int = 0) -> dict[str, int]:
    """Count."""
    return {"x": x + 1}


@workflow("Create a node", target=Target.CREATE, queue="mine")
def create_node() -> StepList:
    """Provision a node."""
    return init >> one >> done


def named(steps: Any, **arguments: Any) -> Workflow:
    """Return a workflow of these steps."""
    return workflow("W", **arguments)(lambda: steps)


def test_a_workflow_is_registered_by_the_name_of_its_function() -> None:
    """The description is for people."""
    assert (create_node.name, create_node.description, create_node.target) == (
        *("create_node", "Create a node", Target.CREATE),
    )
    assert create_node.location.file == __file__
    assert create_node.manifest is create_node.manifest
    assert repr(create_node) == "<workflow 'create_node'>"


def test_a_description_is_taken_from_the_docstring_if_none_is_given() -> None:
    """Its first line; without one the name."""

    def documented() -> StepList:
        """Do a lot.

        And more.
        """
        return begin

    def bare() -> StepList:
        return begin

    assert workflow()(documented).description == "Do a lot."
    assert workflow()(bare).description == "bare"


@pytest.mark.parametrize(
    ("steps", "names"),
    [
        (begin, ["Start", "Done"]),
        (one, ["Start", "A", "Done"]),
        (begin >> one, ["Start", "A", "Done"]),
        (init >> one, ["Start", "A", "Done"]),
        (one >> done, ["Start", "A", "Done"]),
        (init >> one >> done, ["Start", "A", "Done"]),
        (init >> one >> abort, ["Start", "A", "Abort"]),
        (init >> done >> one >> done, ["Start", "Done", "A", "Done"]),
        (init >> one >> conditional(bool)(abort), ["Start", "A", "Abort", "Done"]),
    ],
)
def test_a_list_gets_the_ends_it_lacks(steps: Any, names: list[str]) -> None:
    """A workflow always starts and ends; an end under a condition is none."""
    assert [made.name for made in named(steps).steps] == names


@pytest.mark.parametrize(
    ("steps", "names"),
    [
        (init >> one >> done, []),
        (one, []),
        (init >> done >> one >> done, ["A", "Done"]),
        (init >> abort >> one, ["A", "Done"]),
        (init >> conditional(bool)(abort) >> one >> done, []),
    ],
)
def test_what_is_behind_an_end_is_unreachable(steps: Any, names: list[str]) -> None:
    """Unless a condition may skip that end."""
    assert [member.name for member in named(steps).unreachable] == names


def test_a_workflow_is_not_called() -> None:
    """It is started by a command."""
    with pytest.raises(StepwireError, match="StartProcess"):
        create_node()


MISTAKES: dict[str, Callable[[], Any]] = {
    "no list": lambda: named(None),
    "a list of functions": lambda: named([one]),
    "Start behind a step": lambda: named(one >> init),
    "Start twice": lambda: named(init >> init),
    "Start under a condition": lambda: named(conditional(bool)(init)),
    "no parentheses": lambda: workflow(lambda: begin),  # type: ignore[arg-type]
    "no target": lambda: workflow("W", target="REMOVE"),  # type: ignore[arg-type]
    "an empty queue": lambda: workflow("W", queue=""),
    "no function": lambda: workflow("W")(begin),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_at_import_with_the_line(mistake: Callable[[], Any]) -> None:
    """In the author's file, with what to do."""
    with pytest.raises(DefinitionError) as caught:
        mistake()
    assert caught.value.file == __file__
    assert caught.value.remedy


def test_steps_are_found_by_path_with_the_lenses_around_them() -> None:
    """A sub-step of a focused group works on the part the group was given."""
    group = step_group("G", begin >> one >> focussteps("inner")(callback_step("C", one, one)))
    made = named(focussteps("outer")(group))
    assert made.step_at("2").children
    assert call_sync(made.step_at("2.1"), {"outer": {"x": 4}}) == {"x": 5}
    assert call_sync(made.step_at("2.2.2"), {"outer": {"inner": {"x": 7}}}) == {"x": 8}
    assert made.step_at("3") is done[0]


def test_conditions_of_a_group_are_asked_for_the_group_alone() -> None:
    """Once begun, a group is not cut short by its own condition."""
    made = named(conditional(lambda state: "x" not in state)(step_group("G", begin >> one >> one)))
    assert made.step_at("2").conditional
    assert not made.step_at("2.1").conditional


@pytest.mark.parametrize("path", ["0", "9", "2.1", ""])
def test_an_unknown_path_is_told(path: str) -> None:
    """With the name of the workflow."""
    with pytest.raises(UnknownNode, match="create_node"):
        create_node.step_at(path)


def test_preparing_finds_parameters_that_cannot_be_filled() -> None:
    """Before anything runs."""

    class Opaque: ...

    def late(x: int) -> None: ...

    late.__annotations__["x"] = Opaque
    made = named(begin >> step_group("G", begin >> step("Late")(late)))
    for unfit in (made, named(begin, initial_input_form=late)):
        with pytest.raises(DefinitionError, match="'x'"):
            unfit.prepare()
