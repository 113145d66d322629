"""The engine as a whole."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Group
from rich.text import Text

from stepwire_cli.gateway import Gateway
from stepwire_cli.output import facts, show, status_text, table, working

LOOK_SECONDS = 0.3
_COLOURS = {"RUNNING": "green", "PAUSING": "yellow", "PAUSED": "red"}


def show_status(url: str | None, *, as_json: bool) -> None:
    """Print the state of the engine and the numbers of processes."""
    with Gateway(url) as gateway:
        found = {**gateway.get("/settings/status"), **gateway.get("/processes/status-counts"), "gateway": gateway.url}
    show(found, lambda: Group(_head(found), Text(), _counts(found)), as_json=as_json)


def pause(url: str | None, *, wait: bool, as_json: bool) -> None:
    """Pause the engine, and wait until nothing runs any more."""
    with Gateway(url) as gateway:
        found = gateway.send("PUT", "/settings/status", json={"global_lock": True}).json()
        if wait:
            found = _until_paused(gateway, found)
    show(found, lambda: _pause_sentence(found), as_json=as_json)


def unpause(url: str | None, *, as_json: bool) -> None:
    """Let the engine go on."""
    with Gateway(url) as gateway:
        found = gateway.send("PUT", "/settings/status", json={"global_lock": False}).json()
    show(found, lambda: "The engine runs.", as_json=as_json)


def retry_tasks(url: str | None, *, as_json: bool) -> None:
    """Try tasks again."""
    with Gateway(url) as gateway:
        found = gateway.send("PUT", "/processes/resume-all").json()
    show(found, lambda: f"{found['count']} task(s) are tried again.", as_json=as_json)


def _until_paused(gateway: Gateway, found: dict[str, Any]) -> dict[str, Any]:
    with working(_finishing(found)) as tell:
        while found["global_status"] == "PAUSING":
            time.sleep(LOOK_SECONDS)
            found = gateway.get("/settings/status")
            tell(_finishing(found))
    return found


def _finishing(found: dict[str, Any]) -> str:
    return f"{found['running_processes']} run(s) finish their step; Ctrl-C stops waiting, not the pause"


def _pause_sentence(found: dict[str, Any]) -> str:
    if found["global_status"] == "RUNNING":
        return "The engine runs: somebody let it go on meanwhile."
    if found["global_status"] == "PAUSING":
        return f"The engine is pausing: {found['running_processes']} run(s) finish their step."
    return "The engine is paused."


def _head(found: dict[str, Any]) -> Any:
    word = found["global_status"]
    return facts(
        [
            ("Gateway", found["gateway"]),
            ("Engine", Text(word.lower(), style=_COLOURS.get(word, ""))),
            ("Runs under way", str(found["running_processes"])),
        ]
    )


def _counts(found: dict[str, Any]) -> Any:
    processes, tasks = found["process_counts"], found["task_counts"]
    rows = [
        (status_text(status), str(processes.get(status, 0)), str(tasks.get(status, 0)))
        for status in sorted({*processes, *tasks})
    ]
    return table(("Status", "Processes", "Tasks"), rows) if rows else Text("There are no processes yet.")
