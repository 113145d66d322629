"""What many of the workflows need: small steps, a journal of what really ran, and a gate that a test opens."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from stepwire import State, Step, current, step

FOLDER = "STEPWIRE_BEHAVIOURS_FOLDER"
GATE_SECONDS = 30.0
POLL_SECONDS = 0.01


def put(**values: Any) -> Step:
    """Make a step that puts values into State."""

    @step(f"Put {', '.join(values)}")
    def put_values() -> State:
        return values

    return put_values


def say(word: str) -> Step:
    """Make a step that adds a word to those said before it."""

    @step(f"Say {word}")
    def say_word(said: list[str] | None = None) -> State:
        return {"said": [*(said or []), word]}

    return say_word


def tell(word: str) -> None:
    """Write into the journal of the running process; what is written stays, whatever becomes of the step."""
    with journal_of(current.process_id).open("a") as journal:
        journal.write(f"{word}\n")


def wait_at_gate() -> None:
    """Return when the test has opened the gate of the running process.

    Raises:
        TimeoutError: nobody opened it.
    """
    deadline = time.monotonic() + GATE_SECONDS
    while not is_open():
        if time.monotonic() > deadline:
            raise TimeoutError("nobody opened the gate")
        time.sleep(POLL_SECONDS)


def is_open() -> bool:
    """Whether the test has opened the gate of the running process."""
    return gate_of(current.process_id).exists()


def journal_of(process_id: UUID) -> Path:
    """Where the journal of a process is."""
    return Path(os.environ[FOLDER]) / f"{process_id}.journal"


def gate_of(process_id: UUID) -> Path:
    """The file that is there when the gate of a process is open."""
    return Path(os.environ[FOLDER]) / f"{process_id}.open"
