"""Section A: lists, binding, conversion, conditions, groups, lenses."""

from __future__ import annotations

import asyncio
import warnings
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from ipaddress import IPv4Address
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from stepwire import (
    State,
    StepList,
    abort,
    begin,
    conditional,
    done,
    focussteps,
    init,
    step,
    steplens,
    workflow,
)
from tests.behaviours.workflows.tools import is_open, put, say

one, two, three = say("one"), say("two"), say("three")


@workflow("Lists joined in several ways")
def a01_joined() -> StepList:
    """One, two, three."""
    left = (one >> two) >> three
    right = one >> (two >> three)
    return init >> begin >> left[:2] >> right[2:] >> done


@workflow("No Done")
def a02_without_done() -> StepList:
    """Ends where the list ends."""
    return init >> one


@workflow("Nothing but steps")
def a02_bare() -> StepList:
    """Neither Start nor Done."""
    return one >> two


@workflow("Two Dones")
def a02_second_done() -> StepList:
    """The second is never reached."""
    return init >> one >> done >> two >> done


@workflow("The same step many times")
def a03_many_times() -> StepList:
    """One, one, two, one."""
    return init >> one >> one >> two >> one >> done


@step("Take by name")
def by_name(a: int, state: State, b: str = "default", *, c: int, d: str = "also default") -> State:
    """Whole State among others, defaults, and a keyword of its own."""
    return {"taken": {"a": a, "b": b, "c": c, "d": d, "state": sorted(state)}}


@step("Take by name, async")
async def by_name_async(state: State, *, c: int) -> State:
    """Take as the other does."""
    await asyncio.sleep(0)
    return {"taken_async": {"c": c, "keys": len(state)}}


with warnings.catch_warnings():
    warnings.simplefilter("ignore")

    @step("Take the rest")
    def the_rest(a: int, *args: Any, **kwargs: Any) -> State:
        """What is not named stays empty."""
        return {"rest": {"a": a, "args": list(args), "kwargs": kwargs}}


@workflow("Parameters are filled by name")
def a04_by_name() -> StepList:
    """Keys are set, then taken."""
    return init >> put(a=1, c=3) >> by_name >> by_name_async >> the_rest >> done


@step("Take what is not there")
def take_nowhere(nowhere: str) -> State:
    """Fail."""
    return {"found": nowhere}


@workflow("A key that nobody set")
def a04_missing() -> StepList:
    """Fails."""
    return init >> take_nowhere >> done


class Colour(Enum):
    """An enum."""

    RED = "red"


@dataclass
class Port:
    """A dataclass."""

    name: str
    speed: int


class Node(BaseModel):
    """A model."""

    name: str
    ports: list[Port]


@step("Take converted values")
def converted(  # noqa: PLR0913, PLR0917  # as many as there are kinds
    identity: UUID,
    moment: datetime,
    day: date,
    colour: Colour,
    address: IPv4Address,
    count: int,
    ratio: float,
    flag: bool,  # noqa: FBT001  # a value of State
    port: Port,
    node: Node,
    members: list[UUID],
    maybe: int | None,
    either: UUID | str,
) -> State:
    """Say which types came."""
    found = locals().items()
    return {
        "types": {name: type(value).__name__ for name, value in found},
        "inner": [type(node.ports[0]).__name__, type(members[0]).__name__],
    }


A_UUID = "6f2e1bd6-0b27-4d1e-9d6e-5a3f1b7c8d90"
VALUES = {
    "identity": A_UUID,
    "moment": "2026-11-21T10:00:00+01:00",
    "day": "2026-11-21",
    "colour": "red",
    "address": "192.0.2.1",
    "count": 3,
    "ratio": 1,
    "flag": True,
    "port": {"name": "xe-0", "speed": 100},
    "node": {"name": "ams", "ports": [{"name": "xe-0", "speed": 100}]},
    "members": [A_UUID],
    "maybe": None,
    "either": "no uuid",
}


@workflow("Values are converted by annotation")
def a05_converted() -> StepList:
    """Plain values in, typed values out."""
    return init >> put(**VALUES) >> converted >> done


@workflow("A value that does not fit")
def a05_unfit() -> StepList:
    """Fails."""
    return init >> put(**{**VALUES, "identity": "not-a-uuid"}) >> converted >> done


@step("Change in place")
def change_in_place(box: dict[str, Any], state: State) -> None:
    """Change what was handed in, return nothing."""
    box["n"] = 2
    state["box"]["n"] = 3
    state["added"] = True


@workflow("What is changed in place is not kept")
def a07_in_place() -> StepList:
    """The box stays as it was."""
    return init >> put(box={"n": 1}) >> change_in_place >> say("after") >> done


@step("Raise the number")
def raise_number(n: int) -> State:
    """Count."""
    return {"n": n + 1}


def small(state: State) -> bool:
    """Whether the number is below 3."""
    return bool(state["n"] < 3)


def large(state: State) -> bool:
    """Whether it is not."""
    return not small(state)


@workflow("Each wrapped step asks for itself")
def a10_each_asks() -> StepList:
    """The second of the wrapped steps finds the condition changed."""
    asked = conditional(small)(raise_number >> raise_number >> say("never") >> say("nor this"))
    return init >> put(n=1) >> asked >> conditional(large)(say("large")) >> done


def when_told(state: State) -> bool:
    """Raise until the gate is open."""
    if not is_open():
        raise LookupError(f"nobody knows yet about {state['n']}")
    return True


@workflow("A condition that raises")
def a10_raises() -> StepList:
    """Fails until it can tell."""
    return init >> put(n=1) >> conditional(when_told)(say("told")) >> done


@step("Move within")
def move_within(x: int, state: State) -> State:
    """See the part only."""
    return {"x": x + 1, "seen": sorted(state)}


@workflow("Steps on a part of State")
def a12_focused() -> StepList:
    """By key."""
    return init >> put(point={"x": 1}, other=2) >> focussteps("point")(move_within >> move_within) >> done


def get_first(state: State) -> State:
    """The first of the points."""
    part: State = state["points"][0]
    return part


def set_first(state: State, part: State) -> State:
    """Put the first point back."""
    return {**state, "points": [part, *state["points"][1:]]}


@workflow("Steps through a lens of their own")
def a12_lens() -> StepList:
    """By two functions."""
    return init >> put(points=[{"x": 1}, {"x": 10}]) >> steplens(get_first, set_first)(move_within) >> done


@workflow("Ends as aborted")
def a13_aborts() -> StepList:
    """What follows is not reached."""
    return init >> one >> abort >> two >> done


@workflow("Ends as aborted under a condition")
def a13_aborts_if() -> StepList:
    """The first condition is false, the second true."""
    return init >> put(n=1) >> conditional(large)(abort) >> one >> conditional(small)(abort) >> two >> done


@step("Speak later")
async def speak_later(said: list[str]) -> State:
    """Be async."""
    await asyncio.sleep(0.001)
    return {"said": [*said, "later"]}


@workflow("Async and plain steps")
def a14_mixed() -> StepList:
    """Plain, async, async, plain."""
    return init >> one >> speak_later >> speak_later >> two >> done
