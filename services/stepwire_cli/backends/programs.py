"""Operating system processes that are started, watched and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stepwire.flow.errors import StepwireError

LAUNCHER = Path(__file__).with_name("launcher.py")
POLL_SECONDS = 0.02
TAIL_LINES = 15

_given: set[int] = set()
"""Ports that this process has given to its programs."""


class BackendError(StepwireError):
    """A server from a package could not be prepared or started; the sentence ends with what it wrote itself."""


@dataclass(frozen=True)
class User:
    """Whom a program runs as."""

    uid: int
    gid: int


def launch_command(
    command: Sequence[str], *, user: User | None = None, death_signal: signal.Signals = signal.SIGTERM
) -> list[str]:
    """`command` preceded by the launcher that ties it to us."""
    uid, gid = (user.uid, user.gid) if user else (-1, -1)
    return [sys.executable, "-I", "-S", str(LAUNCHER), str(int(death_signal)), str(uid), str(gid), *command]


class Program:
    """A server process that writes to a log file."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._written_before = 0

    @property
    def pid(self) -> int:
        """Its process id; 0 when it was never started."""
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(
        self,
        command: Sequence[str],
        *,
        user: User | None = None,
        death_signal: signal.Signals = signal.SIGTERM,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start `command`; its output goes to the log."""
        with self.log.open("ab") as output:
            self._written_before = output.tell()
            self._process = subprocess.Popen(
                launch_command(command, user=user, death_signal=death_signal),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                cwd="/",
            )

    def wrote(self, text: bytes) -> bool:
        """Whether `text` is in what it wrote since it was started last."""
        with self.log.open("rb") as log:
            log.seek(self._written_before)
            return text in log.read()

    def wait_until(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Return when `ready()` holds.

        Raises:
            BackendError: the program ended before, or the time is over.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running:
                raise BackendError(f"{self.name} ended while it was starting.\n{self.tail()}")
            if time.monotonic() > deadline:
                raise BackendError(f"{self.name} did not start within {seconds:.0f} s.\n{self.tail()}")
            time.sleep(POLL_SECONDS)

    def stop(self, how: signal.Signals, *, seconds: float) -> None:
        """Send `how`, wait, and kill what has not ended by then."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def tail(self) -> str:
        """The last lines of the log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])


class Server:
    """A program whose data lie in `folder`, and which listens on `port`; the same folder may be started again."""

    def __init__(self, program: str, folder: Path, log: str, port: int) -> None:
        self._folder = folder.absolute()
        self._wanted_port = port
        self._program = Program(program, self._folder / log)
        self._wanted = False
        self.port = 0

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._program.pid

    @property
    def failed(self) -> bool:
        """Whether it ended without having been told to."""
        return self._wanted and not self._program.running

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._program.running

    def _end(self, how: signal.Signals, seconds: float) -> None:
        self._wanted = False
        self._program.stop(how, seconds=seconds)


def run(command: Sequence[str], *, what: str, user: User | None = None, seconds: float = 120) -> None:
    """Run a program to its end.

    Raises:
        BackendError: it failed.
    """
    done = subprocess.run(
        launch_command(command, user=user),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd="/",
        timeout=seconds,
        check=False,
    )
    if done.returncode:
        raise BackendError(f"{what} failed.\n{(done.stdout + done.stderr).decode(errors='replace')[-2000:]}")


def free_port(preferred: int = 0) -> int:
    """`preferred` if nobody listens there, else a free one, another one each time: who got it may still be starting."""
    port = _bindable(preferred)
    while port != preferred and port in _given:
        port = _bindable()
    _given.add(port)
    return port


def _bindable(preferred: int = 0) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cache_folder() -> Path:
    """Where downloads are kept: `stepwire` in XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "stepwire"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
