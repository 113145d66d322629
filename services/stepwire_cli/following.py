"""Following one process: looked at whenever the gateway says that something happened, shown in place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from stepwire.chassis.errors import Unreachable
from stepwire_cli.errors import EXIT_DONE, EXIT_FAILED, Refused
from stepwire_cli.gateway import Body, Gateway
from stepwire_cli.output import console, emit, print_line, status_text
from stepwire_cli.patience import Patience
from stepwire_cli.timeline import PENDING, has_ended, head, process_view, step_line, steps_table, waits_for

# A process of many fast steps is not looked at for each of them.
LOOK_SECONDS = 0.1

Look = Callable[[Body], None]


def follow(gateway: Gateway, process_id: str, *, as_json: bool, expected: bool = False) -> int:
    """Show `process_id` as it goes on, until it has ended or failed; returns the exit code.

    One that is `expected` may not be there yet: its command is still to be answered.

    Raises:
        Refused: there is no such process.
        Unreachable: the gateway is away for a minute.
    """
    process = asyncio.run(_awaited(gateway, process_id)) if expected else gateway.process(process_id)
    with _shower(as_json=as_json) as show:
        show(process)
        status = asyncio.run(_watch(gateway, process, show))
    if as_json:
        print_line({"kind": "end", "process_id": process_id, "status": status})
    return EXIT_DONE if status == "completed" else EXIT_FAILED


async def _awaited(gateway: Gateway, process_id: str) -> Body:
    waits = Patience()
    while True:
        try:
            return gateway.process(process_id)
        except (Unreachable, Refused) as error:
            if isinstance(error, Refused) and error.reason != "unknown_process":
                raise
            await waits.pause(error)


async def _watch(gateway: Gateway, process: Body, show: Look) -> str:
    """Show the process whenever something has happened; returns the status it ends with."""
    waits, status = Patience(), str(process["last_status"])
    while not has_ended(status):
        try:
            async with aclosing(_changes(gateway, process["process_id"])) as changes:
                async for changed in changes:
                    show(changed)
                    waits.forget()
                    status = str(changed["last_status"])
                    if has_ended(status):
                        break
        except (Unreachable, Refused) as error:
            if isinstance(error, Refused) and not error.passing:
                raise
            await waits.pause(error)
    return status


async def _changes(gateway: Gateway, process_id: str) -> AsyncGenerator[Body, None]:
    """The process at the beginning, and after its events; many events at once are one look.

    Raises:
        Unreachable: the gateway is away, or has stopped.
        Refused: it cannot tell events at the moment.
    """
    changed = asyncio.Event()
    listening = asyncio.create_task(_listen(gateway, process_id, changed))
    try:
        while True:
            await changed.wait()
            changed.clear()
            if listening.done():
                listening.result()
                raise Unreachable("the gateway", gateway.url, "it has ended the stream of events")
            yield gateway.process(process_id)
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        listening.cancel()
        await asyncio.wait({listening})


async def _listen(gateway: Gateway, process_id: str, changed: asyncio.Event) -> None:
    """Set `changed` at the beginning, with every event, with every pulse of the stream, and at its end."""
    try:
        async with gateway.stream("/events", process_id=process_id) as lines:
            async for line in lines:
                # An event's last line, or the pulse of a stream in which nothing happens.
                if line.startswith((":", "data:")):
                    changed.set()
    finally:
        changed.set()


@contextmanager
def _shower(*, as_json: bool) -> Iterator[Look]:
    """How a process is shown: as lines of JSON, in place on a terminal, line by line elsewhere."""
    screen = console()
    if as_json:
        yield _Lines(_json_step, _json_status)
    elif screen.is_terminal:
        with _InPlace(screen).live() as look:
            yield look
    else:
        yield _Lines(lambda step: emit(step_line(step)), lambda process: emit(_status_line(process)))


class _Lines:
    """Tells every step once per outcome, and the status whenever it is another one."""

    def __init__(self, on_step: Callable[[Body], None], on_status: Callable[[Body], None]) -> None:
        self._on_step = on_step
        self._on_status = on_status
        self._told: set[tuple[Any, ...]] = set()
        self._status: tuple[Any, ...] = ()

    def __call__(self, process: Body) -> None:
        """Tell what is new."""
        for step in process["steps"]:
            mark = (step["node"], step["attempt"], step["status"], step["retries"])
            if step["status"] != PENDING and mark not in self._told:
                self._told.add(mark)
                self._on_step(step)
        status = (process["last_status"], waits_for(process), str(process["progress"]))
        if status != self._status:
            self._status = status
            self._on_status(process)


class _InPlace:
    """The whole timeline, drawn anew in place; on a low terminal the part where the process is."""

    def __init__(self, screen: Console) -> None:
        self._screen = screen
        self._spinner = Spinner("dots")
        self._process: Body = {}

    @contextmanager
    def live(self) -> Iterator[Look]:
        """Draw while the block runs; what was shown last stays, whole."""
        with Live(console=self._screen, refresh_per_second=10, transient=True, get_renderable=self._drawn):
            yield self._look
        if self._process:
            self._screen.print(process_view(self._process))

    def _look(self, process: Body) -> None:
        self._process = process

    def _drawn(self) -> Group:
        if not self._process:
            return Group(self._spinner)
        process = self._process
        room = max(self._screen.height - 14, 5)
        running = process["last_status"] in ("running", "created")
        sign = self._spinner if running else Text("Ctrl-C stops following; the process goes on.", style="dim")
        return Group(head(process), Text(), steps_table({**process, "steps": _around(process["steps"], room)}), sign)


def _around(steps: list[Body], room: int) -> list[Body]:
    """As many steps as there is room for, around the first one to come."""
    at = next((number for number, step in enumerate(steps) if step["status"] == PENDING), len(steps))
    first = max(0, min(at - room * 2 // 3, len(steps) - room))
    return steps[first : first + room]


def _status_line(process: Body) -> Text:
    waiting = waits_for(process)
    parts = [f"  waits for {waiting}" if waiting else "", f"  {process['progress']}" if process["progress"] else ""]
    failed = process["failed_reason"] if has_ended(process["last_status"]) else None
    return Text.assemble(
        "Process ", status_text(process["last_status"]), *parts, (f"  {failed}" if failed else "", "red")
    )


def _json_step(step: Body) -> None:
    print_line({"kind": "step", **{name: value for name, value in step.items() if name != "state"}})


def _json_status(process: Body) -> None:
    names = ("process_id", "last_status", "waiting_on", "progress", "failed_reason")
    print_line({"kind": "status", **{name: process[name] for name in names}})
