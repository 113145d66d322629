"""Counting effects: what is missing and what is there too often is found and named."""

from __future__ import annotations

from typing import Any

from examples.node.proof import exactly_once, no_repetition, outside_effects, requests_by_outcome


def entry(route: str, outcome: str) -> dict[str, Any]:
    """One line of the outside system's log."""
    return {"route": route, "outcome": outcome, "node_name": "n"}


def test_everything_once_holds() -> None:
    """Each effect once for each subject."""
    counted = exactly_once("effects", ["a", "b"], ["x", "y"], [("b", "x"), ("a", "x"), ("a", "y"), ("b", "y")])
    assert counted.holds
    assert (counted.expected, counted.found) == (4, 4)


def test_what_is_missing_is_named() -> None:
    """An effect that did not happen breaks the proof."""
    counted = exactly_once("effects", ["a", "b"], ["x"], [("a", "x")])
    assert not counted.holds
    assert counted.missing == ("x: b",)


def test_what_happened_twice_is_named() -> None:
    """A repetition does not make up for something missing, even if the sums agree."""
    counted = exactly_once("effects", ["a", "b"], ["x"], [("a", "x"), ("a", "x")])
    assert not counted.holds
    assert counted.expected == counted.found
    assert (counted.missing, counted.extra) == (("x: b",), ("x: a",))


def test_what_nobody_ordered_is_named() -> None:
    """An effect for a refused order breaks the proof."""
    counted = exactly_once("effects", ["a"], ["x"], [("a", "x"), ("refused", "x")])
    assert counted.extra == ("x: refused",)


def test_no_repetition_names_what_is_there_twice() -> None:
    """Any set of different pairs holds; a pair that repeats does not."""
    assert no_repetition("steps", [("a", "1"), ("a", "2"), ("b", "1")]).holds
    assert no_repetition("steps", [("a", "1"), ("a", "1")]).extra == ("1: a",)


def test_only_done_requests_are_effects() -> None:
    """Repeated and refused requests changed nothing outside, and callbacks are not ours."""
    log = [
        entry("/inventory", "done"),
        entry("/inventory", "repeated"),
        entry("/monitoring", "busy"),
        entry("/callback", "delivered"),
    ]
    assert outside_effects(log) == [("n", "/inventory")]
    assert requests_by_outcome(log) == {"busy": 1, "delivered": 1, "done": 1, "repeated": 1}
