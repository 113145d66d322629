"""Workflows the executor's tests run."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from typing import Any

from sqlalchemy import text

from stepwire import (
    Retry,
    State,
    StepList,
    current,
    done,
    init,
    retrystep,
    step,
    workflow,
)
from stepwire.data import db

effects: dict[str, list[Any]] = defaultdict(list)
gates: dict[str, threading.Event] = defaultdict(threading.Event)


@step("Add one")
def add_one(count: int = 0) -> State:
    """Count."""
    return {"count": count + 1}


@step("Add one, async")
async def add_one_async(count: int = 0) -> State:
    """Count on the loop for steps."""
    await asyncio.sleep(0)
    return {"count": count + 1}


@step("Fail")
def fail() -> None:
    """Fail."""
    raise ValueError("this step fails")


@retrystep("Fail for a while", retry=Retry(delay_seconds=3, jitter=0))
def fail_for_a_while() -> None:
    """Fail, to be tried again."""
    raise ConnectionError("away")


@step("Write a row")
def write_row(label: str = "row") -> State:
    """Write an effect without any unique constraint around it."""
    db.session.execute(
        text("INSERT INTO effects (process_id, node, label) VALUES (:process_id, :node, :label)"),
        {"process_id": current.process_id, "node": current.node, "label": label},
    )
    return {"written": True}


@step("Write a row, async")
async def write_row_async() -> State:
    """Write an effect from an async step."""
    await db.session.execute(
        text("INSERT INTO effects (process_id, node, label) VALUES (:process_id, :node, 'async')"),
        {"process_id": current.process_id, "node": current.node},
    )
    return {"written": True}


@step("Read rows")
def read_rows() -> State:
    """Only read."""
    return {"rows": db.session.execute(text("SELECT count(*) FROM effects")).scalar_one()}


@step("Wait for the gate")
def wait_for_gate(gate: str) -> State:
    """Write, then wait for the test."""
    effects[gate].append("begun")
    db.session.execute(text("INSERT INTO effects (label) VALUES (:label)"), {"label": gate})
    gates[gate].wait(60)
    return {"passed": True}


@workflow("Five trivial steps")
def five_steps() -> StepList:
    """Count to five."""
    return init >> add_one >> add_one >> add_one >> add_one >> add_one >> done


@workflow("Sync and async steps")
def mixed() -> StepList:
    """Count on two loops."""
    return init >> add_one >> add_one_async >> add_one >> done


@workflow("Fails at the second step")
def failing() -> StepList:
    """Count, then fail."""
    return init >> add_one >> fail >> add_one >> done


@workflow("Is tried again")
def retried() -> StepList:
    """Wait for the next attempt."""
    return init >> fail_for_a_while >> done


@workflow("Writes")
def writing() -> StepList:
    """Write rows."""
    return init >> write_row >> write_row_async >> read_rows >> done


@workflow("Waits for a gate")
def gated() -> StepList:
    """Wait within a transaction."""
    return init >> wait_for_gate >> add_one >> done
