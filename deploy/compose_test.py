"""Plays the main job in containers: `make compose-test`.

The images are built and everything of docker-compose.yml is started, on free ports, under a name of its own. Thirty
orders are worked on while one of the two executors is killed; the job itself counts what was done, in the database and
in the outside system's log. In the end everything is removed, also the data. Nothing but Docker and Python is needed.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PROJECT = "stepwire-test"
PORTS = ("GATEWAY_PORT", "KAFKA_PORT", "PROMETHEUS_PORT")
START_SECONDS = 240
JOB_SECONDS = 180
ALERTS_SECONDS = 60
POLL_SECONDS = 0.1
LEAST_UNDER_WAY = 10
NOT_UNDER_WAY = frozenset({"created", "completed", "aborted", "rejected"})
TARGETS = {"coordinator": 2, "executor": 2, "gateway": 1}


class ComposeTestError(Exception):
    """Something is not as it should be; the sentence says what."""


class Composition:
    """The services of docker-compose.yml, under a name of their own."""

    def __init__(self) -> None:
        self._ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
        self._how: dict[str, Any] = {"cwd": ROOT, "env": {**os.environ, **self._ports}}

    def command(self, *arguments: str) -> list[str]:
        """The command line for Docker."""
        return ["docker", "compose", "--project-name", PROJECT, "--progress", "quiet", *arguments]

    def run(self, *arguments: str) -> None:
        """Do it.

        Raises:
            ComposeTestError: it did not work.
        """
        if subprocess.run(self.command(*arguments), **self._how, check=False).returncode:
            raise ComposeTestError(f"docker compose {' '.join(arguments)} failed")

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Begin it."""
        return subprocess.Popen(self.command(*arguments), **self._how)

    def kill_one_of(self, service: str) -> None:
        """End one container of a service with SIGKILL; Docker does not start it again by itself.

        Raises:
            ComposeTestError: there is none.
        """
        listing = subprocess.run(
            self.command("ps", "--quiet", service), **self._how, stdout=subprocess.PIPE, check=False
        )
        first = listing.stdout.decode().split()[:1]
        if not first or subprocess.run(["docker", "kill", *first], stdout=subprocess.DEVNULL, check=False).returncode:
            raise ComposeTestError(f"no container of {service} could be killed")

    def read(self, port: str, path: str) -> Any:
        """The JSON that one of the published ports answers with; None while it does not."""
        try:
            url = f"http://127.0.0.1:{self._ports[port]}{path}"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return None


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now."""
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in listening]
    for each in listening:
        each.close()
    return ports


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a state.

    Raises:
        ComposeTestError: it did not come in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ComposeTestError(f"{what}: not within {seconds:.0f} s")
        time.sleep(POLL_SECONDS)


def play(composition: Composition) -> None:
    """All of it.

    Raises:
        ComposeTestError: something is not as it should be.
    """
    say("the images are built")
    composition.run("--profile", "job", "build", "--quiet")
    say("everything is started; each service has to become healthy")
    composition.run("up", "--detach", "--wait", "--wait-timeout", str(START_SECONDS))
    say("thirty orders are published")
    job = composition.begin("run", "--rm", "--no-deps", "--no-TTY", "job")
    try:
        until(lambda: under_way(composition) >= LEAST_UNDER_WAY, JOB_SECONDS, "orders under way")
        say("an executor is killed")
        composition.kill_one_of("executor")
        if job.wait(JOB_SECONDS):
            raise ComposeTestError("the job's proof does not hold")
    finally:
        job.kill()
        job.wait()
    say("the executor is started again")
    composition.run("up", "--detach", "--wait", "--wait-timeout", str(START_SECONDS), "executor")
    say("Prometheus reads all services and evaluates all rules")
    until(lambda: targets_up(composition) == TARGETS, ALERTS_SECONDS, f"Prometheus reads {TARGETS}")
    until(lambda: rules_are_well(composition), ALERTS_SECONDS, "rules that can be evaluated")


def under_way(composition: Composition) -> int:
    """How many processes have begun and not ended."""
    counts = composition.read("GATEWAY_PORT", "/api/processes/status-counts") or {}
    return sum(n for status, n in counts.get("process_counts", {}).items() if status not in NOT_UNDER_WAY)


def targets_up(composition: Composition) -> dict[str, int]:
    """How many services of each kind Prometheus can read."""
    answer = composition.read("PROMETHEUS_PORT", "/api/v1/targets?state=active") or {"data": {"activeTargets": []}}
    up = [target["labels"]["job"] for target in answer["data"]["activeTargets"] if target["health"] == "up"]
    return {job: up.count(job) for job in TARGETS}


def rules_are_well(composition: Composition) -> bool:
    """Whether every rule was evaluated, without an error."""
    answer = composition.read("PROMETHEUS_PORT", "/api/v1/rules") or {"data": {"groups": []}}
    health = [rule["health"] for group in answer["data"]["groups"] for rule in group["rules"]]
    return bool(health) and set(health) == {"ok"}


def say(text: str) -> None:
    """Show what happens next."""
    print(f"compose-test: {text}", flush=True)


def clear(composition: Composition) -> None:
    """Remove everything.

    Raises:
        ComposeTestError: it did not work; without Docker there is nothing to remove.
    """
    say("everything is removed")
    composition.run("--profile", "job", "down", "--volumes", "--remove-orphans", "--timeout", "35")


def succeeds(part: Callable[[Composition], None], composition: Composition) -> bool:
    """Do one part of it, and say what is not as it should be."""
    try:
        part(composition)
    except ComposeTestError as error:
        say(str(error))
        return False
    return True


def main() -> int:
    """Play, and clean up; returns the exit code."""
    composition = Composition()
    try:
        played = succeeds(play, composition)
        if not played:
            composition.begin("logs", "--tail", "40").wait()
    finally:
        cleared = succeeds(clear, composition)
    if not (played and cleared):
        return 1
    say("every order was worked on exactly once, although an executor was killed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
