"""Workflows that the clients are tested with."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

from stepwire import (
    FormPage,
    State,
    StepList,
    callback_step,
    current,
    done,
    init,
    inputstep,
    register_form,
    step,
    workflow,
)

FOLDER = "CLIENT_TEST_FOLDER"


class OrderPage(FormPage):
    """What is ordered."""

    name: str


class ConfirmPage(FormPage):
    """What an operator says."""

    confirmed: bool


@inputstep("Confirm", assignee="NOC")
def confirm() -> type[FormPage]:
    """Wait for an operator."""
    return ConfirmPage


@step("Order")
def order(callback_route: str) -> None:
    """Write the route where the outside system finds it."""
    path = Path(os.environ[FOLDER]) / str(current.process_id)
    path.with_suffix(".new").write_text(callback_route)
    path.with_suffix(".new").rename(path)


@step("Check")
def check(callback_result: dict[str, str]) -> State:
    """Take the serial number."""
    return {"serial": callback_result["serial"]}


@step("Fail")
def fail() -> None:
    """Need somebody."""
    raise RuntimeError("somebody has to look at this")


@workflow("Order", initial_input_form=OrderPage)
def client_order() -> StepList:
    """Input, then a callback."""
    return init >> confirm >> callback_step("Deliver", order, check) >> done


@workflow("Fail")
def client_failing() -> StepList:
    """A step that is to be skipped."""
    return init >> fail >> done


@register_form("client.quote")
def quote(form_key: str, reporter: str) -> Generator[type[FormPage], Any, State]:
    """Ask for an order that nobody gives."""
    page = yield OrderPage
    return {"name": page.name, "asked": [form_key, reporter]}
