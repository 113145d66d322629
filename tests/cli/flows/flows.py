"""Small workflows with forms, failures and waits."""

from __future__ import annotations

from collections.abc import Generator
from enum import StrEnum
from typing import Any

from pydantic import Field

from stepwire import (
    FormPage,
    Retry,
    State,
    StepList,
    Target,
    conditional,
    current,
    done,
    init,
    inputstep,
    register_form,
    retrystep,
    step,
    step_group,
    with_lock,
    workflow,
)

FormGenerator = Generator[type[FormPage], Any, State]


class Site(StrEnum):
    """Where there are racks."""

    AMSTERDAM = "ams-1"
    LONDON = "lon-2"


class PortPage(FormPage):
    """What shall be ordered?"""

    site: Site
    ports: int = Field(ge=1, le=48, description="How many ports")
    trunk: bool = False


@register_form("ports_quote")
def port_form() -> FormGenerator:
    """Ask in two pages; the second depends on the first."""
    port = yield PortPage

    class ContactPage(FormPage):
        email: str = Field(pattern="@", description=f"Who is told when {port.ports} ports are there")
        vlans: list[int] = Field(default_factory=list)
        remark: str | None = None

    contact = yield ContactPage
    return {**port.model_dump(), **contact.model_dump()}


@step("Say hello")
def say_hello() -> State:
    """Say it."""
    return {"greeting": "hello"}


@step("Break")
def break_down(state: State) -> State:
    """Fail as long as nobody has skipped it."""
    message = f"the line card of {state.get('site', 'nowhere')} is gone"
    raise RuntimeError(message)


@retrystep("Ask the inventory", retry=Retry(delay_seconds=0.1, times=2))
def ask_inventory() -> State:
    """Ask."""
    return {"inventory": "known"}


@inputstep("Confirm", assignee="NOC")
def confirm(state: State) -> type[FormPage]:
    """Ask an operator."""

    class ConfirmPage(FormPage):
        confirmed: bool
        keys: int = len(state)

    return ConfirmPage


@inputstep("Wait", assignee="NOC")
def wait_for_somebody() -> type[FormPage]:
    """Stay here until the process is aborted."""

    class WaitPage(FormPage):
        never: str

    return WaitPage


@step("Report progress")
def report() -> None:
    """Tell how far it is."""
    current.progress("half")


@workflow("Say hello")
def hello() -> StepList:
    """No form."""
    return init >> say_hello >> report >> done


@workflow("Order ports", initial_input_form=port_form, target=Target.CREATE)
def order_ports() -> StepList:
    """Two pages, a group and a condition."""
    return (
        init
        >> say_hello
        >> step_group("Configure", init[:0] >> ask_inventory >> report)
        >> conditional(lambda state: state["trunk"])(report)
        >> done
    )


@workflow("Confirm something")
def confirmed() -> StepList:
    """Suspended until somebody confirms."""
    return init >> say_hello >> confirm >> done


@workflow("Break down")
def breaks() -> StepList:
    """Failed until somebody skips it."""
    return init >> break_down >> say_hello >> done


@workflow("Wait for somebody")
def waits() -> StepList:
    """Never ends by itself."""
    return init >> wait_for_somebody >> done


@workflow("Break down with a lock")
def locks_and_breaks() -> StepList:
    """Failed, and nobody else has the rack meanwhile."""
    return init >> with_lock("rack:ams")(break_down) >> done


@workflow("Wait with a lock")
def locks_and_waits() -> StepList:
    """Has the other rack until it is aborted."""
    return init >> with_lock("rack:lon")(wait_for_somebody) >> done
