"""Workflows whose manifests the tests offer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from stepwire.flow.lists import StepList
from stepwire.flow.manifest import Manifest
from stepwire.flow.steps import begin, callback_step, done, init, inputstep, step, step_group
from stepwire.flow.targets import Target
from stepwire.flow.workflows import workflow


@step("Order the port")
def order_port() -> dict[str, Any]:
    """Order it."""
    return {}


@step("Check the port")
def check_port() -> dict[str, Any]:
    """Check it."""
    return {}


def _form(state: dict[str, Any]) -> Iterator[Any]:
    yield state


@inputstep("Confirm", assignee="NOC")
def confirm(state: dict[str, Any]) -> Iterator[Any]:
    """Ask for it."""
    yield state


def _manifest(steps: StepList, **options: Any) -> Manifest:
    name = f"workflow_{uuid4().hex[:8]}"

    def author() -> StepList:
        return steps

    author.__name__ = name
    manifest = workflow("A workflow for tests", **{"target": Target.CREATE, **options})(author).manifest
    assert manifest.workflow == name
    return manifest


def plain(**options: Any) -> Manifest:
    """Start, Order, Check, Done."""
    return _manifest(init >> order_port >> check_port >> done, **options)


def with_form() -> Manifest:
    """The same with a start form."""
    return plain(initial_input_form=_form)


def with_callback() -> Manifest:
    """Start, Order, Check, a callback step at node 4, Confirm, Done."""
    awaited = callback_step("Await the vendor", order_port, check_port, result_key="answer")
    return _manifest(init >> order_port >> check_port >> awaited >> confirm >> done)


def grouped() -> Manifest:
    """Two steps in a group."""
    return _manifest(init >> step_group("Ports", begin >> order_port >> check_port) >> done)


def task() -> Manifest:
    """A task."""
    return _manifest(init >> begin >> check_port >> done, target=Target.SYSTEM)
