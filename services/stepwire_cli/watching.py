"""Watching the list of processes: read again once a second, shown in place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from stepwire.chassis.errors import Unreachable
from stepwire_cli.errors import Refused
from stepwire_cli.gateway import Gateway
from stepwire_cli.listing import Page, Wanted, look, rendered
from stepwire_cli.output import console, emit, print_line
from stepwire_cli.patience import Patience

LOOK_SECONDS = 1.0
# Lines that are not processes: the head of the table, how many there are, and how to end it.
OTHER_LINES = 6

Show = Callable[[Page], None]


def watch_processes(wanted: Wanted, url: str | None, *, as_json: bool) -> None:
    """Show the processes that are `wanted` as they change, until Ctrl-C.

    Raises:
        Refused: there is no such list.
        Unreachable: the gateway is not there, or away for a minute.
    """
    with Gateway(url) as gateway:
        first = look(gateway, wanted)
        with _shower(as_json=as_json) as show, suppress(KeyboardInterrupt):
            show(first)
            asyncio.run(_watch(gateway, wanted, show))


async def _watch(gateway: Gateway, wanted: Wanted, show: Show) -> None:
    waits = Patience()
    while True:
        try:
            await asyncio.sleep(LOOK_SECONDS)
            show(look(gateway, wanted))
            waits.forget()
        except (Unreachable, Refused) as error:
            if isinstance(error, Refused) and not error.passing:
                raise
            await waits.pause(error)


@contextmanager
def _shower(*, as_json: bool) -> Iterator[Show]:
    """How a list is shown: in place on a terminal, elsewhere again whenever it is another one."""
    screen = console()
    if as_json:
        yield _Changes(lambda page: print_line(page.processes))
    elif screen.is_terminal:
        with _in_place(screen) as show:
            yield show
    else:
        yield _Changes(lambda page: emit(Group(rendered(page), Text())))


class _Changes:
    """Tells a list that is not as the one before."""

    def __init__(self, tell: Show) -> None:
        self._tell = tell
        self._told: Page | None = None

    def __call__(self, page: Page) -> None:
        """Tell it if it is another one."""
        if page != self._told:
            self._told = page
            self._tell(page)


@contextmanager
def _in_place(screen: Console) -> Iterator[Show]:
    """Draw each list over the one before while the block runs; what was shown last stays, whole."""
    last = Page((), "")
    with Live(console=screen, auto_refresh=False, transient=True) as live:

        def show(page: Page) -> None:
            nonlocal last
            last = page
            live.update(_on(screen, page), refresh=True)

        yield show
    screen.print(rendered(last))


def _on(screen: Console, page: Page) -> Group:
    """As much of a list as there is room for."""
    shown = replace(page, processes=page.processes[: max(screen.height - OTHER_LINES, 1)])
    return Group(rendered(shown), Text("Ctrl-C stops watching; the processes go on.", style="dim"))
