"""`stepwire dev`: the whole stack for a person, with its output in colours, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.text import Text

from stepwire.chassis.errors import SettingsError
from stepwire.chassis.settings import Settings
from stepwire.flow.importing import require_package
from stepwire_cli.errors import WrongUsage
from stepwire_cli.stack import KAFKA_PORT, POSTGRES_PORT, Size, Stack

COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "red")
EXIT_INTERRUPTED = 130


class Printer:
    """Prints lines with the name of who wrote them, a colour each."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._colours: dict[str, str] = {}
        self._lock = threading.Lock()

    def __call__(self, name: str, line: str) -> None:
        """Print one line."""
        with self._lock:
            colour = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
            self._console.print(Text(f"{name:>13} | ", style=colour) + Text.from_ansi(line), soft_wrap=True)


def run_dev(folder: Path, settings: Settings, size: Size) -> int:
    """Run the stack until SIGINT or SIGTERM; returns the exit code."""
    if size.executors and not settings.workflows:
        raise SettingsError("STEPWIRE_WORKFLOWS is not set; name the packages that hold your workflows.")
    for package in settings.workflows if size.executors else ():
        require_package(package)
    _make(folder)
    console = Console(highlight=False, markup=False, emoji=False)
    stop, started = threading.Event(), threading.Event()
    log_format = os.environ.get("STEPWIRE_LOG_FORMAT", "console")
    stack = Stack(
        folder,
        environment={"STEPWIRE_LOG_FORMAT": log_format},
        size=size,
        default_ports=True,
        output=Printer(console),
    )
    _handle_signals(stack, stop, started)
    console.print(f"Starting PostgreSQL, Kafka and the services; data are kept in {folder}.")
    with stack:
        started.set()
        _tell(console, stack, settings)
        stop.wait()
        console.print("Stopping; what is under way is finished first. Ctrl-C again stops at once.")
    return 0


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongUsage(f"--folder {folder} cannot hold data: {error.strerror}.") from error


def _handle_signals(stack: Stack, stop: threading.Event, started: threading.Event) -> None:
    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        if stop.is_set():
            stack.kill_all()
            os._exit(EXIT_INTERRUPTED)
        stop.set()
        if not started.is_set():
            # Leaves the start where it is; what runs by now is stopped on the way out.
            sys.exit(EXIT_INTERRUPTED)

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)


def _tell(console: Console, stack: Stack, settings: Settings) -> None:
    console.print(f"Gateway     {stack.gateway_url}{_other(stack.gateway_url, settings.gateway_port)}", style="bold")
    console.print(f"PostgreSQL  {stack.database_url}{_other(stack.database_url, POSTGRES_PORT)}")
    console.print(f"Kafka       {stack.kafka_bootstrap}{_other(stack.kafka_bootstrap, KAFKA_PORT)}")
    console.print(f"State       {stack.folder / 'stack.json'}; Ctrl-C stops.")


def _other(address: str, usual: int) -> str:
    return "" if not address or f":{usual}" in address else f"  (port {usual} is taken)"
