"""The list of processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from rich.console import Group, RenderableType
from rich.text import Text

from stepwire.process.model import Status
from stepwire_cli.errors import WrongUsage, near
from stepwire_cli.gateway import Body, Gateway
from stepwire_cli.output import SHORT_ID, console, moment, short_ids, show, status_text, table
from stepwire_cli.timeline import waits_for

# From how many characters in a line on there is room for these.
WITH_STARTED, WITH_WAITS, WITH_WHOLE_IDS = 80, 100, 150


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
            if status not in list(Status):
                raise WrongUsage(f"{status!r} is no status of a process{near(status, list(Status))}")
        pairs = [
            ("last_status", "-".join(self.statuses)),
            ("workflow_name", "-".join(self.workflows)),
            *(("label", label) for label in self.labels),
            ("subscription_id", self.subscription or ""),
            ("is_task", "" if self.tasks is None else str(self.tasks).lower()),
        ]
        filters = [*(f"{name},{value}" for name, value in pairs if value), *self.filters]
        return [*(("filter", text) for text in filters), ("sort", self.sort), ("range", self.window)]


@dataclass(frozen=True)
class Page:
    """The processes in the range that was asked for, and how many there are in all, as the gateway tells it."""

    processes: Sequence[Body]
    total: str


def show_processes(wanted: Wanted, url: str | None, *, as_json: bool) -> None:
    """Print the processes that are `wanted`."""
    with Gateway(url) as gateway:
        page = look(gateway, wanted)
    show(page.processes, lambda: rendered(page), as_json=as_json)


def look(gateway: Gateway, wanted: Wanted) -> Page:
    """The processes that are `wanted`, as they are now."""
    response = gateway.send("GET", "/processes/", params=wanted.params())
    total = unquote(response.headers.get("Content-Range", "")).rpartition("/")[2]
    return Page(response.json(), total)


def rendered(page: Page) -> RenderableType:
    """A page as a table, or why it is empty."""
    processes, total = page.processes, page.total
    if not processes:
        return Text("No process is like that." if total in ("", "0") else f"None of the {total} is in that range.")
    width = console().width
    # The last ones go where there is no room for them.
    columns = ["Process", "Workflow", "Status", "Step"]
    columns += ["Started"] if width >= WITH_STARTED else []
    columns += ["Waits for"] if width >= WITH_WAITS else []
    rows = [_row(process, width)[: len(columns)] for process in processes]
    shown = table(columns, rows, wrap=["Step", "Waits for"])
    if not total.isdecimal() or int(total) <= len(processes) or not console().is_terminal:
        return shown
    return Group(shown, Text(f"{len(processes)} of {total}; --range shows others.", style="dim"))


def _row(process: Body, width: int) -> list[RenderableType]:
    whole = width >= WITH_WHOLE_IDS
    started = moment(process["started_at"])
    return [
        process["process_id"] if whole else process["process_id"][:SHORT_ID],
        process["workflow_name"],
        status_text(process["last_status"]),
        process["last_step"] or "",
        started if whole else started[5:16],
        short_ids(waits_for(process)),
    ]
