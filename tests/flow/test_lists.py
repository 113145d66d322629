"""Lists of steps and what may stand in them."""

from __future__ import annotations

import inspect

import pytest

from stepwire import StepList, abort, begin, done, init, step
from stepwire.flow.errors import DefinitionError, StepwireError


@step("First")
def first(x: int) -> dict[str, int]:
    """Double it."""
    return {"y": x * 2}


@step("Second")
async def second() -> None:
    """Do nothing."""


def plain() -> None:
    """Forgotten: not decorated."""


def test_a_step_leaves_its_function_as_it_was() -> None:
    """Docstring, module, line and the function itself stay reachable, and calling the step calls it."""
    assert first.__doc__ == "Double it."
    assert first.__module__ == __name__
    assert vars(first)["__wrapped__"] is first.function
    assert inspect.signature(first) == inspect.signature(first.function or plain)
    assert first(4) == {"y": 8}
    assert first.location.file == __file__
    assert not first.is_async
    assert second.is_async


def test_joining_is_associative_and_makes_new_lists() -> None:
    """However lists are bracketed, the same steps follow each other, and no list is changed."""
    assert (begin >> first) >> second == begin >> (first >> second) == StepList([first, second])
    assert begin == StepList()
    assert len(init >> first >> second >> done) == 4
    assert begin >> abort == abort


def test_a_step_may_be_used_many_times() -> None:
    """The same step object may stand in a list twice."""
    assert [s.name for s in first >> first] == ["First", "First"]


def test_slicing_gives_a_list() -> None:
    """A slice is a list that can be joined again; an index is a step."""
    steps = init >> first >> second >> done
    assert isinstance(steps[1:3], StepList)
    assert steps[1:3] >> first == StepList([first, second, first])
    assert steps[1] is first
    assert str(steps[1:3]) == "StepList [First, Second]"


def test_a_plain_function_in_a_list_is_named_with_the_line() -> None:
    """The error names the function, where it is defined, and where it was put into the list."""
    with pytest.raises(DefinitionError, match=r"test_lists\.plain, defined at .* is not a step") as caught:
        begin >> plain  # type: ignore[operator]
    assert caught.value.file == __file__
    assert caught.value.line > plain.__code__.co_firstlineno
    assert "@step" in caught.value.remedy


@pytest.mark.parametrize("wrong", [plain, None, "text", 3, [first]])
def test_nothing_but_steps_can_be_joined(wrong: object) -> None:
    """On either side of >> anything else is a definition error."""
    with pytest.raises(DefinitionError):
        first >> wrong  # type: ignore[operator]
    with pytest.raises(DefinitionError):
        wrong >> first
    with pytest.raises(DefinitionError):
        wrong >> begin


def test_a_list_of_other_things_is_refused() -> None:
    """StepList itself checks its members."""
    with pytest.raises(DefinitionError, match="plain"):
        StepList([first, plain])  # type: ignore[list-item]


def test_ends_can_be_taken_off() -> None:
    """A wrapper that adds its own Start and Done takes a list written with or without them."""
    core = begin >> first >> second
    assert (init >> core >> done).without_ends() == core
    assert core.without_ends() == core
    assert (init >> done).without_ends() == begin
    assert begin.without_ends() == begin
    assert init.without_ends() == begin
    assert done.without_ends() == begin


def test_a_node_of_the_engine_cannot_be_called() -> None:
    """Start has no function; calling it says so."""
    with pytest.raises(StepwireError, match="'Start' has no function"):
        init[0]()
