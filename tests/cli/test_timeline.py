"""How a process is drawn."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from stepwire_cli.timeline import process_view

RED = "\x1b[31m"


def step(node: str, status: str, attempt: int, error: str | None = None) -> dict[str, Any]:
    """A step as the gateway tells of it."""
    told = {"class_name": "ConnectionError", "message": error} if error else None
    return {"node": node, "name": f"Step {node}", "status": status, "attempt": attempt, "error": told}


def test_an_error_that_was_overcome_is_no_longer_red() -> None:
    """What stands is: whoever looks at a process that has completed shall not look for what is wrong with it."""
    process = {
        "process_id": "4e41f4ff-8811-563a-9c78-df42f01430e8",
        "workflow_name": "connect_port",
        "workflow_target": "SYSTEM",
        "last_status": "failed",
        "started_at": "2026-01-31T12:00:00Z",
        "steps": [step("1", "waiting", 1, "no route"), step("1", "success", 2), step("2", "failed", 1, "no light")],
    }
    screen = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=120)
    with screen.capture() as captured:
        screen.print(process_view(process))
    shown = captured.get()
    assert f"{RED}ConnectionError: no light" in shown
    assert "ConnectionError: no route" in shown
    assert f"{RED}ConnectionError: no route" not in shown
