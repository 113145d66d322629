"""Who takes part in the demo: the stack of Stepwire and the outside system, each service a process of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import httpx
import orjson

from stepwire_cli.backends.programs import free_port, launch_command
from stepwire_cli.stack import Stack

ROOT = Path(__file__).parents[2]
EXECUTOR = "executor-1"
START_SECONDS = 30.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.05
# Of a log record these are shown elsewhere on the line, or say nothing to a reader of the demo.
HIDDEN = frozenset({"event", "level", "service", "timestamp", "logger", "action", "exception", "instance"})

Output = Callable[[str, str], None]


class OutsideSystem:
    """The vendor's server (`examples.node.oss`)."""

    def __init__(self, log: Path, output: Output) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        self._output = output
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, gateway_url: str) -> None:
        """Start the server and return when it answers.

        Raises:
            TimeoutError: it does not.
        """
        options = {"--port": str(self.port), "--log": str(self.log), "--gateway-url": gateway_url}
        arguments = [word for option in options.items() for word in option]
        self._process = subprocess.Popen(
            launch_command([sys.executable, "-m", "examples.node.oss", *arguments]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            start_new_session=True,
        )
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()
        self._wait()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid if self._process else 0

    def stop(self) -> None:
        """Stop it; ended by force if it does not listen."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                httpx.get(f"{self.url}/log").raise_for_status()
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the outside system does not answer at {self.url}") from None
                time.sleep(POLL_SECONDS)
            else:
                return

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self._output("oss", line.decode(errors="replace").rstrip())


class Scene:
    """Everything that runs; use it as a context manager."""

    def __init__(self, folder: Path, failpoints: str, output: Output) -> None:
        self.oss = OutsideSystem(folder / "oss.jsonl", output)
        self.stack = Stack(
            folder,
            environment={
                "STEPWIRE_WORKFLOWS": "examples.node.workflows",
                "STEPWIRE_MIGRATIONS": "examples.node.migrations",
                "STEPWIRE_TESTING": "1",
                "STEPWIRE_LOG_FORMAT": "json",
                "NODE_OSS_URL": self.oss.url,
            },
            service_environment={"executor": {"STEPWIRE_FAILPOINTS": failpoints}},
            restart=False,
            output=lambda name, line: output(name.removesuffix("-1"), readable(line)),
        )
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as started:
            started.enter_context(self.stack)
            started.callback(self.oss.stop)
            self.oss.start(self.stack.gateway_url)
            self._exit = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    @property
    def pids(self) -> Mapping[str, int]:
        """Process ids of all services."""
        return {name.removesuffix("-1"): service.pid for name, service in self.stack.services.items()} | {
            "oss": self.oss.pid
        }

    def paused(self) -> bool:
        """Whether the executor has come to the failpoint."""
        return any("failpoint=" in line for line in self.stack.services[EXECUTOR].lines)

    def kill_executor(self) -> None:
        """End the executor with SIGKILL; it finishes nothing and says goodbye to nobody."""
        self.stack.kill(EXECUTOR, stay_down=True)
        self.stack.services[EXECUTOR].wait_end()

    def start_executor(self, failpoints: str) -> None:
        """Start the executor again."""
        self.stack.start_service(EXECUTOR, {"STEPWIRE_FAILPOINTS": failpoints})


def readable(line: str) -> str:
    """Return a log record as a sentence with what it is about; any other line as it is."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line
    if not isinstance(record, dict) or "event" not in record:
        return line
    about = " ".join(f"{key}={value}" for key, value in record.items() if key not in HIDDEN and value is not None)
    level = str(record.get("level", "info"))
    mishap = str(record.get("exception", "")).strip().rpartition("\n")[2]
    return f"{'' if level == 'info' else level.upper() + ': '}{record['event']}  {about}  {mishap}".rstrip()
