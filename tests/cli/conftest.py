"""One stack for all tests of the command line, and a way to give commands to it."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest

from stepwire_cli.main import run
from stepwire_cli.stack import Stack
from tests.support import databases
from tests.support.paths import python_path
from tests.support.waiting import wait_for

PARTITIONS = 2
SECONDS = 30.0


@dataclass(frozen=True)
class Result:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as one document of JSON."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """What it printed, as a document of JSON per line."""
        return [json.loads(line) for line in self.out.splitlines()]


Cli = Callable[..., Result]


@pytest.fixture(scope="package")
def stack(
    database_url: str, database_template: str, kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """One of each service; whoever pauses the engine lets it go on again."""
    folder = tmp_path_factory.mktemp("cli")
    with databases.cloned(database_url, database_template) as url, (folder / "services.log").open("w") as log:
        made = Stack(
            folder / ".stepwire",
            database_url=url,
            kafka_bootstrap=kafka_bootstrap,
            environment={
                "STEPWIRE_TESTING": "1",
                "STEPWIRE_TOPIC_PREFIX": f"c{uuid4().hex[:8]}.",
                "STEPWIRE_TOPIC_PARTITIONS": str(PARTITIONS),
                "STEPWIRE_WORKFLOWS": "tests.cli.flows",
                "PYTHONPATH": python_path(),
            },
            output=lambda name, line: print(name, line, file=log, flush=True),
        )
        with made:
            yield made


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Gives one command in this process; `typed` is its standard input, `settings` are all it finds set."""
    for name in [name for name in os.environ if name.startswith("STEPWIRE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "120")
    # It would make the loggers of this process write to what is captured for one test.
    monkeypatch.setattr("stepwire_cli.places.configure_logging", lambda *_, **__: None)

    def give(*arguments: str, typed: str = "", settings: Mapping[str, str] | None = None) -> Result:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.StringIO(typed))
            for name, value in (settings or {}).items():
                patch.setenv(name, value)
            code = run(list(arguments))
        printed = capsys.readouterr()
        return Result(code, printed.out, printed.err)

    return give


def settings_of(stack: Stack) -> dict[str, str]:
    """The settings that lead to a stack."""
    return {
        "STEPWIRE_DATABASE_URL": stack.database_url,
        "STEPWIRE_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
        "STEPWIRE_GATEWAY_URL": stack.gateway_url,
        "STEPWIRE_TOPIC_PREFIX": stack.settings.topic_prefix,
        "STEPWIRE_TOPIC_PARTITIONS": str(PARTITIONS),
    }


@pytest.fixture
def stepwire(alone: Cli, stack: Stack) -> Cli:
    """Gives commands to the stack that runs."""
    known = settings_of(stack)

    def give(*arguments: str, typed: str = "", settings: Mapping[str, str] | None = None) -> Result:
        return alone(*arguments, typed=typed, settings={**known, **(settings or {})})

    return give


@pytest.fixture
def started(stepwire: Cli, stack: Stack) -> Callable[..., str]:
    """Starts a process, waits until it has a status, and returns its id."""

    def start(workflow: str, status: str, *options: str) -> str:
        process_id = str(stepwire("start", workflow, *options, "--json").json["process_id"])
        wait_for(lambda: status_of(stack, process_id) == status, what=f"status {status}")
        return process_id

    return start


def status_of(stack: Stack, process_id: str) -> str:
    """The status of a process now, `None` where its start is not decided yet."""
    found = httpx.get(f"{stack.gateway_url}/api/processes/{process_id}", timeout=SECONDS)
    return str(found.json().get("last_status"))
