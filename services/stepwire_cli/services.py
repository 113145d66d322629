"""One service of a stack: an operating system process, its output, and whether it is ready."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import IO

from stepwire.flow.errors import StepwireError
from stepwire_cli.backends.programs import free_port, launch_command

READY_SECONDS = 60.0
# A little more than a service takes to drain.
STOP_SECONDS = 35.0
LAST_LINES_SECONDS = 2.0
KEPT_LINES = 5000
ANSWER_SECONDS = 2.0
POLL_SECONDS = 0.02

Output = Callable[[str, str], None]
COMMAND = (sys.executable, "-m", "stepwire_cli")


class StackError(StepwireError):
    """The stack or one of its services does not do what it was told."""


class Service:
    """A service process of kind coordinator, executor or gateway; `environment` is all it is told."""

    def __init__(self, name: str, kind: str, environment: Mapping[str, str], *, port: int, output: Output) -> None:
        self.name = name
        self.kind = kind
        self.environment = dict(environment)
        self.command: Sequence[str] = (*COMMAND, kind)
        self.wanted = False
        self._asked = False
        self.started_at = 0.0
        self._wanted_port = port
        self._port = 0
        self._output = output
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._written = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """Its process id; 0 when it was never started."""
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll() if self._process else None

    @property
    def url(self) -> str:
        """Where its HTTP is, without a trailing slash."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def lines(self) -> list[str]:
        """What it wrote, oldest first, of all its lives."""
        with self._written:
            return list(self._lines)

    def start(self, *, port: int | None = None) -> None:
        """Start the process, on `port` if it has to be that one; `wait_ready` tells when it works."""
        # Else the port it had, so that its address stays, unless somebody took it meanwhile.
        self._port = free_port(self._port or self._wanted_port) if port is None else port
        port_setting = "STEPWIRE_GATEWAY_PORT" if self.kind == "gateway" else "STEPWIRE_METRICS_PORT"
        self._process = subprocess.Popen(
            launch_command(self.command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.environment, port_setting: str(self._port)},
            # Ctrl-C goes to all in the foreground's group; the services are told by us, once.
            start_new_session=True,
        )
        self.wanted = True
        self._asked = False
        self.started_at = time.monotonic()
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), name=self.name, daemon=True)
        self._reader.start()

    def ready(self) -> bool:
        """Whether /health/ready says so."""
        try:
            with urllib.request.urlopen(f"{self.url}/health/ready", timeout=ANSWER_SECONDS) as response:  # noqa: S310  # its own address
                return int(response.status) == HTTPStatus.OK
        except OSError:
            return False

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Return when the service is ready.

        Raises:
            StackError: it ended, or the time is over; with the last lines it wrote.
        """
        deadline = time.monotonic() + seconds
        while not self.ready():
            if not self.running:
                raise StackError(f"{self.name} ended with exit code {self.exit_code}.\n{self._tail()}")
            if time.monotonic() > deadline:
                raise StackError(f"{self.name} is not ready after {seconds:.0f} s.\n{self._tail()}")
            time.sleep(POLL_SECONDS)

    def wait_output(self, text: str, seconds: float = 30.0, *, since: int = 0) -> str:
        """Return the first line containing `text`, of those after the first `since` lines.

        Raises:
            StackError: it was not written in time.
        """
        deadline = time.monotonic() + seconds
        with self._written:
            while True:
                for line in list(self._lines)[since:]:
                    if text in line:
                        return line
                if not self._written.wait(deadline - time.monotonic()):
                    raise StackError(f"{self.name} did not write {text!r} within {seconds:.0f} s.\n{self._tail()}")

    def wait_end(self, seconds: float = STOP_SECONDS) -> int:
        """Return the exit code when the process has ended.

        Raises:
            StackError: it still runs.
        """
        if self._process is None:
            raise StackError(f"{self.name} was never started.")
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise StackError(f"{self.name} still runs after {seconds:.0f} s.\n{self._tail()}") from None
        if self._reader is not None:
            # What a step has left behind may hold its output open for as long as it likes.
            self._reader.join(LAST_LINES_SECONDS)
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if there is a process."""
        if self.running and self._process is not None:
            self._process.send_signal(number)

    def ask_to_stop(self) -> None:
        """Let it drain; it is not started again. One that is frozen is thawed first."""
        self.wanted = False
        if not self._asked:
            # Once: a second signal ends a service at once, with what is under way in it.
            self._asked = True
            self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """Let it drain and end it; returns the exit code, -9 when it had to be killed."""
        self.ask_to_stop()
        if self._process is None:
            return 0
        try:
            return self.wait_end(seconds)
        except StackError:
            self.signal(signal.SIGKILL)
            return self.wait_end()

    def _read(self, stream: IO[bytes] | None) -> None:
        if stream is None:
            return
        with stream:
            for raw in stream:
                line = raw.decode(errors="replace").rstrip()
                with self._written:
                    self._lines.append(line)
                    self._written.notify_all()
                self._output(self.name, line)

    def _tail(self) -> str:
        return "\n".join(list(self._lines)[-20:])


def write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Readers see the old text or the new one, never half of it."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.touch(mode=mode)
    unfinished.write_text(text)
    unfinished.replace(path)
