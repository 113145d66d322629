"""The workloads' workflows: as little work as possible, so that the engine's own cost is what is measured."""

from __future__ import annotations

import functools
import time

from bench.door import announce
from stepwire import State, Step, StepList, begin, callback_step, current, done, init, step, workflow

BIG_STEPS = 200
BIG_STATE_BYTES = 100_000


@step("One")
def one() -> State:
    """Set a key."""
    return {"one": 1}


@step("Two")
def two(one: int) -> State:
    """Set a key from another."""
    return {"two": one + 1}


@step("Three")
def three(two: int) -> State:
    """Set a key from another."""
    return {"three": two + 1}


@step("Four")
def four(three: int) -> State:
    """Set a key from another."""
    return {"four": three + 1}


@step("Five")
def five(four: int) -> State:
    """Set a key from another."""
    return {"five": four + 1}


@workflow("Five trivial steps")
def bench_five() -> StepList:
    """w1 and w2."""
    return init >> one >> two >> three >> four >> five >> done


@step("Ask")
def ask(callback_route: str) -> None:
    """Tell the bench where to post."""
    announce(str(current.process_id), callback_route)


@step("Check")
def check() -> State:
    """The callback step's own validation; the clock shows when it ran."""
    return {"checked_at": time.time()}


@step("After")
def after() -> State:
    """The step that follows the callback; the clock shows when it ran."""
    return {"ran_at": time.time()}


answer = callback_step("Answer", action_step=ask, validate_step=check)


@workflow("One callback")
def bench_callback() -> StepList:
    """w3 and idle."""
    return init >> answer >> after >> done


@step("Big")
def big() -> State:
    """Make State big."""
    return {"big": "x" * BIG_STATE_BYTES}


def small(number: int) -> Step:
    """Make one of many steps that each add a key with 20 bytes."""

    @step(f"Small {number}")
    def add() -> State:
        return {f"key_{number}": "x" * 20}

    return add


@workflow("Many steps with a big State, then a callback")
def bench_big() -> StepList:
    """w4."""
    smalls = functools.reduce(StepList.__rshift__, map(small, range(2, BIG_STEPS + 1)), begin)
    return init >> big >> smalls >> answer >> after >> done
