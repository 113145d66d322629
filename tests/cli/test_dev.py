"""`stepwire dev` as a person uses it: real servers, no services, in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.support.backends import server_folder
from tests.support.waiting import wait_for

SECONDS = 60.0
NO_SERVICES = ("--coordinators", "0", "--executors", "0", "--gateways", "0")


def start(folder: Path) -> subprocess.Popen[str]:
    """Start it in `folder`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STEPWIRE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "stepwire_cli", "dev", *NO_SERVICES],
        cwd=folder,
        env=clean,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def dev(folder: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """It runs, and what stack.json says."""
    with start(folder) as process:
        try:
            yield process, wait_for_state(folder, process)
        finally:
            process.kill()


def wait_for_state(folder: Path, process: subprocess.Popen[str]) -> dict[str, Any]:
    """The content of stack.json as soon as it is there."""
    path = folder / ".stepwire" / "stack.json"
    wait_for(lambda: path.exists() or process.poll() is not None, SECONDS, "a running stack")
    assert process.poll() is None, process.stdout.read() if process.stdout else ""
    state: dict[str, Any] = json.loads(path.read_text())
    return state


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607
    return bool(shown.stdout.strip()) and "Z" not in shown.stdout


def test_it_survives_restarts_and_leaves_nothing_running() -> None:
    """Ctrl-C ends with 0 and nothing runs any more; the next start finds the data; SIGKILL leaves nothing either."""
    with server_folder() as folder:
        with dev(folder) as (process, state):
            with psycopg.connect(state["database_url"]) as connection:
                connection.execute("CREATE TABLE kept ()")
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) == 0
            assert not any(alive(pid) for pid in state["pids"].values())
        with dev(folder) as (process, state):
            with psycopg.connect(state["database_url"]) as connection:
                assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
            second = start(folder)
            assert second.wait(SECONDS) == 1
            with second:
                assert second.stdout is not None
                assert f"process {process.pid}" in second.stdout.read()
            os.kill(state["pids"]["kafka"], signal.SIGKILL)
            wait_for(lambda: wait_for_state(folder, process)["pids"]["kafka"] != state["pids"]["kafka"])
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0
