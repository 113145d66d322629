"""Steps that write effects into a table, and that ask the outside system of the tests."""

from __future__ import annotations

import json
import os
import urllib.request
from typing import Any

from sqlalchemy import text

from stepwire import State, Step, current, step
from stepwire.data import db

OUTSIDE = "STEPWIRE_FAULTS_OUTSIDE"
ANSWER_SECONDS = 120.0
EFFECT = text(
    "INSERT INTO fault_effects (process_id, node, attempt, effect) VALUES (:process_id, :node, :attempt, :effect)"
)


def effect(name: str) -> dict[str, Any]:
    """What a step writes down in its own transaction when it does something."""
    return {
        "process_id": current.process_id,
        "node": current.node,
        "attempt": current.attempt,
        "effect": name,
    }


def ask_outside(what: str, **more: Any) -> Any:
    """Ask the outside system with the step's idempotency key.

    Raises:
        OSError: it does not answer, or not with 200.
    """
    body = {"process_id": str(current.process_id), "node": current.node, "attempt": current.attempt, **more}
    headers = {"Content-Type": "application/json", "Idempotency-Key": str(current.idempotency_key)}
    request = urllib.request.Request(  # noqa: S310  # the test's own server
        f"{os.environ[OUTSIDE]}/{what}", json.dumps(body).encode(), headers
    )
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:  # noqa: S310  # the same
        return json.load(response)


def write(name: str) -> Step:
    """Make a step that has one effect in the database."""

    @step(f"Write {name}")
    def write_effect() -> None:
        db.session.execute(EFFECT, effect(name))

    return write_effect


def write_async(name: str) -> Step:
    """Make an async step that has one effect in the database."""

    @step(f"Write {name}")
    async def write_effect() -> None:
        await db.session.execute(EFFECT, effect(name))

    return write_effect


def ask(what: str, *, timeout: float | None = None) -> Step:
    """Make a step that asks outside first, then opens its session and writes that it has asked."""

    @step(f"Ask for {what}", timeout=timeout)
    def ask_and_write() -> State:
        answer = ask_outside(what)
        db.session.execute(EFFECT, effect(what))
        return {what: answer}

    return ask_and_write
