"""A. Steps and step lists, 1 to 5, 10, 12 to 14: lists, binding, conversion, conditions, lenses."""

from __future__ import annotations

from typing import Any

import pytest

from stepwire import StepList, begin, init, step
from stepwire.flow.errors import DefinitionError
from tests.behaviours.driver import Driver, Seen
from tests.behaviours.workflows import a_lists


def completed(driver: Driver, workflow: str) -> Seen:
    """The process of a workflow that needs nothing, when it has completed."""
    return driver.wait(driver.start(workflow), "completed", "failed")


def plain() -> None:
    """Be no step."""


def test_a01_lists_are_joined_in_any_way(driver: Driver) -> None:
    """Joining is associative, `begin` is the empty list, a slice is a list, and the parts stay as they are."""
    seen = completed(driver, "a01_joined")
    assert seen.names == ["Start", "Say one", "Say two", "Say three", "Done"]
    assert seen.state["said"] == ["one", "two", "three"]
    assert [len(begin), len(init), len(StepList((a_lists.one,)))] == [0, 1, 1]


def test_a01_a_plain_function_in_a_list_is_a_definition_error() -> None:
    """It is named, with where it stands."""
    with pytest.raises(DefinitionError, match=r"plain.*test_a_steps\.py"):
        init >> plain  # type: ignore[operator]


def test_a02_a_list_without_done_completes_at_its_end(driver: Driver) -> None:
    """Start and Done are there, whether the author wrote them or not."""
    assert completed(driver, "a02_without_done").outcomes[-1] == ("Done", "complete")
    assert completed(driver, "a02_bare").names == ["Start", "Say one", "Say two", "Done"]


def test_a02_a_second_done_is_never_reached(driver: Driver) -> None:
    """The process ends at the first; nothing is to come."""
    seen = completed(driver, "a02_second_done")
    assert (seen.status, seen.names, seen.pending) == ("completed", ["Start", "Say one", "Done"], ())


def test_a03_a_step_is_used_many_times(driver: Driver) -> None:
    """Each use is a node of its own."""
    seen = completed(driver, "a03_many_times")
    assert seen.state["said"] == ["one", "one", "two", "one"]
    assert [one.node for one in seen.steps] == ["1", "2", "3", "4", "5", "6"]


def test_a03_a_step_wraps_a_function_without_changing_it() -> None:
    """Docstring and module stay reachable, and the function can be called as it is."""

    def add(a: int) -> dict[str, Any]:
        """Add one."""
        return {"a": a + 1}

    wrapped = step("Add one to a")(add)
    assert (wrapped.__doc__, wrapped.__module__, wrapped.name) == ("Add one.", __name__, "Add one to a")
    assert add(1) == {"a": 2} == wrapped(1)


def test_a04_parameters_are_filled_by_name(driver: Driver) -> None:
    """`state` gets the whole dict at any position; defaults and keywords of their own work; the rest stays empty."""
    state = completed(driver, "a04_by_name").state
    seen = ["a", "c", "process_id", "reporter", "workflow_name", "workflow_target"]
    assert state["taken"] == {"a": 1, "b": "default", "c": 3, "d": "also default", "state": seen}
    assert state["taken_async"] == {"c": 3, "keys": 7}
    assert state["rest"] == {"a": 1, "args": [], "kwargs": {}}


def test_a04_what_is_never_filled_is_warned_about() -> None:
    """`*args` and `**kwargs` are ignored with a warning at the definition."""
    with pytest.warns(UserWarning, match="never filled"):

        @step("Take the rest")
        def _take_rest(*args: Any) -> None:
            """Take nothing."""


def test_a04_a_missing_key_fails_the_step(driver: Driver) -> None:
    """The error names the key and the function."""
    seen = completed(driver, "a04_missing")
    assert seen.outcomes[-1] == ("Take what is not there", "failed")
    reason = seen.failed_reason or ""
    assert "'nowhere'" in reason
    assert "take_nowhere" in reason


def test_a05_values_are_converted_by_annotation(driver: Driver) -> None:
    """What came as JSON is what the annotation says, inside lists, dataclasses and models too."""
    state = completed(driver, "a05_converted").state
    assert state["types"] == {
        "identity": "UUID",
        "moment": "datetime",
        "day": "date",
        "colour": "Colour",
        "address": "IPv4Address",
        "count": "int",
        "ratio": "float",
        "flag": "bool",
        "port": "Port",
        "node": "Node",
        "members": "list",
        "maybe": "NoneType",
        "either": "str",
    }
    assert state["inner"] == ["Port", "UUID"]


def test_a05_a_value_that_does_not_fit_fails_the_step(driver: Driver) -> None:
    """The message names the key, the type and the function."""
    reason = completed(driver, "a05_unfit").failed_reason or ""
    assert all(word in reason for word in ("identity", "UUID", "converted"))


def test_a07_what_is_changed_in_place_is_not_kept(driver: Driver) -> None:
    """Neither in a parameter nor in the whole State."""
    seen = completed(driver, "a07_in_place")
    assert (seen.state["box"], "added" in seen.state, seen.state["said"]) == ({"n": 1}, False, ["after"])


def test_a10_each_wrapped_step_asks_for_itself(driver: Driver) -> None:
    """Two wrapped steps run until the condition is false; what is skipped leaves State alone."""
    seen = completed(driver, "a10_each_asks")
    assert [status for _, status in seen.outcomes] == [
        *("success", "success", "success", "success"),
        *("skipped", "skipped", "success", "complete"),
    ]
    assert (seen.state["n"], seen.state["said"]) == (3, ["large"])
    assert seen.step("Say never").changed == {}


def test_a10_a_condition_that_raises_fails_its_step(driver: Driver) -> None:
    """A retry asks it again."""
    process_id = driver.start("a10_raises")
    seen = driver.wait(process_id, "failed")
    assert (seen.outcomes[-1], seen.failed_reason) == (("Say told", "failed"), "nobody knows yet about 1")
    driver.open_gate(process_id)
    driver.resume(process_id)
    assert driver.wait(process_id, "completed").state["said"] == ["told"]


def test_a10_a_wrapped_input_step_keeps_its_form(driver: Driver) -> None:
    """Its form and its assignee are there when the condition is true, and nobody is asked when it is false."""
    process_id = driver.start("a10_input")
    seen = driver.wait(process_id, "suspended")
    assert [status for _, status in seen.outcomes] == ["success", "success", "skipped", "suspend"]
    assert seen.assignee == "CHANGES"
    assert "contact" in (seen.form or {})["properties"]
    driver.resume(process_id, {"name": "Ada", "contact": {}, "tags": []})
    assert driver.wait(process_id, "completed").state["confirmed"] is True


def test_a12_steps_work_on_a_part_of_state(driver: Driver) -> None:
    """They see and change nothing else."""
    state = completed(driver, "a12_focused").state
    assert (state["point"], state["other"]) == ({"x": 3, "seen": ["seen", "x"]}, 2)
    assert completed(driver, "a12_lens").state["points"] == [{"x": 2, "seen": ["x"]}, {"x": 10}]


def test_a13_abort_ends_a_workflow_as_aborted(driver: Driver) -> None:
    """What follows is not reached; under a condition that is false it is skipped."""
    seen = driver.wait(driver.start("a13_aborts"), "aborted")
    assert (seen.outcomes[-1], seen.state["said"]) == (("Abort", "abort"), ["one"])
    seen = driver.wait(driver.start("a13_aborts_if"), "aborted")
    assert [status for _, status in seen.outcomes] == ["success", "success", "skipped", "success", "abort"]


def test_a14_async_and_plain_steps_mix(driver: Driver) -> None:
    """Each sees what the one before it left."""
    assert completed(driver, "a14_mixed").state["said"] == ["one", "later", "later", "two"]
