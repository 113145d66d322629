"""The list of processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from rich.console import Group, RenderableType
from rich.text import Text

from stepwire_cli.commands.process import STATUSES
from stepwire_cli.errors import WrongUsage, near
from stepwire_cli.gateway import Gateway
from stepwire_cli.output import console, is_wide, moment, show, shown_id, status_text, table
from stepwire_cli.timeline import waits_for


@dataclass(frozen=True)
class Wanted:
    """Which processes are asked for, in the words of the command line."""

    statuses: Sequence[str]
    workflows: Sequence[str]
    labels: Sequence[str]
    subscription: str | None
    tasks: bool | None
    filters: Sequence[str]
    sort: str
    window: str

    def params(self) -> list[tuple[str, str]]:
        """The same as parameters of the HTTP API.

        Raises:
            WrongUsage: there is no such status.
        """
        for status in self.statuses:
            if status not in STATUSES:
                raise WrongUsage(f"{status!r} is no status of a process{near(status, list(STATUSES))}")
        pairs = [
            ("last_status", "-".join(self.statuses)),
            ("workflow_name", "-".join(self.workflows)),
            *(("label", label) for label in self.labels),
            ("subscription_id", self.subscription or ""),
            ("is_task", "" if self.tasks is None else str(self.tasks).lower()),
        ]
        filters = [*(f"{name},{value}" for name, value in pairs if value), *self.filters]
        return [*(("filter", text) for text in filters), ("sort", self.sort), ("range", self.window)]


def show_processes(wanted: Wanted, url: str | None, *, as_json: bool) -> None:
    """Print the processes that are `wanted`."""
    with Gateway(url) as gateway:
        response = gateway.send("GET", "/processes/", params=wanted.params())
        processes = response.json()
    total = unquote(response.headers.get("Content-Range", "")).rpartition("/")[2]
    show(processes, lambda: _rendered(processes, total), as_json=as_json)


def _rendered(processes: Sequence[dict[str, Any]], total: str) -> RenderableType:
    if not processes:
        return Text("No process is like that." if total in ("", "0") else f"None of the {total} is in that range.")
    wide = is_wide()
    columns = ["Process", "Workflow", "Status", "Step", "Started", *(["Waits for"] if wide else [])]
    rows = [_row(process, wide=wide) for process in processes]
    shown = table(columns, rows, wrap=["Workflow", "Step", "Waits for"])
    if not total.isdecimal() or int(total) <= len(processes) or not console().is_terminal:
        return shown
    return Group(shown, Text(f"{len(processes)} of {total}; --range shows others.", style="dim"))


def _row(process: dict[str, Any], *, wide: bool) -> list[RenderableType]:
    started = moment(process["started_at"])
    return [
        shown_id(process["process_id"]),
        process["workflow_name"],
        status_text(process["last_status"]),
        process["last_step"] or "",
        started if wide else started[5:16],
        *([waits_for(process)] if wide else []),
    ]
