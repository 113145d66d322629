"""`with_lock`: what it puts around steps, and how a lock is named."""

from __future__ import annotations

from typing import Any

import pytest

from stepwire import State, StepList, begin, conditional, done, focussteps, init, step, step_group, with_lock, workflow
from stepwire.flow.errors import BindingError, DefinitionError, InvalidLockName
from stepwire.flow.lists import Step
from stepwire.flow.locks import lock_name
from stepwire.flow.manifest import Manifest
from stepwire.flow.steps import lock_subscription, relate_subscription, unlock_subscription
from stepwire.flow.workflows import Workflow


@step("Configure")
def configure() -> None:
    """Do nothing."""


def of(steps: Step | StepList, **options: Any) -> Workflow:
    """A workflow of these steps."""

    @workflow("Locks", **options)
    def locks() -> StepList:
        return begin >> steps

    return locks


def names(made: Workflow) -> list[str]:
    """The names of its nodes."""
    return [node.name for node in made.manifest.nodes]


def taking(name: Any) -> Step:
    """The node that takes a lock of this name."""
    return with_lock(name)(configure)[0]


def test_a_lock_encloses_a_step_a_list_or_a_group() -> None:
    """One node takes it before the first, one frees it behind the last."""
    inner = with_lock("x")(configure)
    assert names(of(inner)) == ["Start", "Lock x", "Configure", "Unlock x", "Done"]
    assert names(of(with_lock("x")(configure >> configure))).count("Lock x") == 1
    group = of(step_group("Group", inner)).manifest.nodes[1]
    assert [(child.path, child.kind) for child in group.children] == [
        ("2.1", "acquire"),
        ("2.2", "step"),
        ("2.3", "release"),
    ]


def test_start_and_end_stay_outside() -> None:
    """A whole list may be wrapped."""
    assert names(of(with_lock("x")(init >> configure >> done))) == ["Start", "Lock x", "Configure", "Unlock x", "Done"]


def test_locks_of_a_workflow_are_held_from_its_first_step_to_its_last() -> None:
    """Taken in their order, freed in the reverse; the subscription is locked before, so that a start can be refused."""
    steps = relate_subscription >> lock_subscription >> configure >> unlock_subscription
    made = of(steps, locks=["x", "y"])
    assert names(made)[2:-1] == [
        *("Lock subscription", "Lock x", "Lock y", "Configure", "Unlock y", "Unlock x", "Unlock subscription")
    ]
    assert made.manifest.locks_at_accept


def test_the_manifest_says_which_lock_and_what_to_do_if_it_is_held() -> None:
    """One that State names has no name there: an executor is asked."""
    manifest = of(with_lock("x", on_conflict="reject")(configure) >> with_lock("{site}")(configure)).manifest
    refused, named = manifest.nodes[1], manifest.nodes[4]
    assert (refused.lock, refused.on_conflict, refused.asks, refused.is_engine) == ("x", "reject", False, True)
    assert (named.lock, named.on_conflict, named.asks, named.name) == (None, "queue", True, "Lock {site}")
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_what_to_do_if_it_is_held_strands_nobody() -> None:
    """It is a policy: a process that waits behind the node is executed by code that says otherwise."""
    waits, refuses = [of(with_lock("x", on_conflict=way)(configure)).manifest for way in ("queue", "reject")]
    assert waits.chain == refuses.chain
    assert waits.hash != refuses.hash


def test_what_is_taken_under_a_condition_is_freed_without() -> None:
    """State may have changed in between."""
    wrapped = conditional(bool)(with_lock("x")(configure))
    assert [node.conditional for node in wrapped] == [True, True, False]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("vlan-pool:{site}", "vlan-pool:ams"),
        ("{site}-{number}", "ams-7"),
        (lambda state: state["site"].upper(), "AMS"),
        (lambda site, number: f"{site}/{number}", "ams/7"),
    ],
)
def test_a_name_is_made_of_state(name: Any, told: str) -> None:
    """By a template, or by a function whose parameters are filled as those of a step."""
    assert lock_name(taking(name), {"site": "ams", "number": 7, "more": {}}) == told


def test_a_name_is_made_of_the_part_of_state_that_is_looked_at() -> None:
    """Behind a lens."""
    node = focussteps("port")(with_lock("{site}")(configure))[0]
    assert lock_name(node, {"port": {"site": "ams"}}) == "ams"


def test_a_plain_name_may_have_braces() -> None:
    """Written twice."""
    assert taking("a{{b}}").lock == "a{b}"
    assert lock_name(taking("a{{b}}"), {}) == "a{b}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("{site}", "State has no text or number under 'site'"),
        ("{more}", "State has no text or number under 'more'"),
        (lambda state: state, "a dict is no name"),
        (lambda state: " " * len(state), "cannot be shown"),
        (lambda state: "x" * (200 + len(state)), "over 200 characters"),
    ],
)
def test_what_names_no_lock_fails_its_step(name: Any, words: str) -> None:
    """With what State lacks."""
    state: State = {"more": {"site": "ams"}}
    with pytest.raises(InvalidLockName, match=words):
        lock_name(taking(name), state)


def test_a_parameter_that_state_does_not_have_fails_its_step() -> None:
    """As in any step."""
    with pytest.raises(BindingError, match="site"):
        lock_name(taking(lambda site: site), {})


async def _later(state: State) -> str:
    return str(state)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "the name cannot be shown"),
        ("x" * 201, "over 200 characters"),
        ("a\0b", "the name cannot be shown"),
        ("{0}", "keys of State only"),
        ("{site.name}", "keys of State only"),
        ("{site!r}", "keys of State only"),
        ("{site:>9}", "keys of State only"),
        ("{site", "expected '}'"),
        (7, "give it a name"),
        (configure, "give it a function"),
        (_later, "write it as a plain function"),
    ],
)
def test_what_can_name_no_lock_is_told_at_import(name: Any, words: str) -> None:
    """With the line and the remedy."""
    with pytest.raises(DefinitionError, match=words) as raised:
        with_lock(name)
    assert raised.value.file == __file__


def test_mistakes_about_conflicts_and_lists_are_told_at_import() -> None:
    """One word, or no list at all."""
    with pytest.raises(DefinitionError, match='use "queue" or "reject"'):
        with_lock("x", on_conflict="wait")
    with pytest.raises(DefinitionError, match="is no list"):
        of(configure, locks="x")
