"""What a person sees: questions on a terminal, a timeline that is drawn in place."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from stepwire_cli.stack import Stack
from tests.cli.conftest import Cli, settings_of
from tests.support.waiting import wait_for

SECONDS = 60.0
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class Person:
    """Somebody at a terminal in which a command runs."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    seen: str = ""
    raw: str = ""
    _read: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        self._screen, other = pty.openpty()
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STEPWIRE_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stepwire_cli", *self.arguments],
            stdin=other,
            stdout=other,
            stderr=other,
            env={**clean, "TERM": "xterm", "COLUMNS": "80", "LINES": "40", **self.environment},
        )
        os.close(other)

    def wait_for(self, words: str) -> None:
        """Read until `words` are seen behind what was waited for before."""
        deadline = time.monotonic() + SECONDS
        while words not in self.seen[self._read :]:
            if time.monotonic() > deadline:
                message = f"{words!r} was not seen: {self.seen}"
                raise TimeoutError(message)
            assert self._more(), self.seen
        self._read = self.seen.index(words, self._read) + len(words)

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self._screen, f"{line}\n".encode())

    def press_ctrl_c(self) -> None:
        """Press it until it is heard: one that comes just before a program begins to read is heard after the line."""
        wait_for(self._interrupted, what="the end after Ctrl-C")

    def ends(self) -> int:
        """Read to the end; the exit code."""
        while self._more():
            pass
        os.close(self._screen)
        return self.process.wait(SECONDS)

    def _interrupted(self) -> bool:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _more(self) -> bool:
        try:
            chunk = os.read(self._screen, 65536).decode(errors="replace")
        except OSError:
            # How Linux says that the other end of a terminal is closed.
            return False
        self.raw += chunk
        self.seen = ESCAPES.sub("", self.raw)
        return bool(chunk)


Sit = Callable[..., Person]


@pytest.fixture
def person(stack: Stack) -> Iterator[Sit]:
    """Sits down at a terminal with the settings of the stack; nothing runs on after the test."""
    people = []

    def sit(*arguments: str, **environment: str) -> Person:
        people.append(Person(arguments, {**settings_of(stack), **environment}))
        return people[-1]

    yield sit
    for each in people:
        each.process.kill()
        each.process.wait()


def test_questions_are_asked_and_the_process_is_followed_in_place(person: Sit) -> None:
    """A wrong answer is asked again; colours and redrawing are for terminals."""
    jane = person("start", "order_ports", "--follow")
    jane.wait_for("What shall be ordered?")
    jane.wait_for("site: ")
    jane.type("nowhere")
    jane.wait_for("is none of the choices")
    jane.wait_for("site: ")
    jane.type("1")
    jane.wait_for("ports (whole number, at least 1, at most 48): ")
    jane.type("99")
    jane.wait_for("trunk (y/n) [n]: ")
    jane.type("y")
    jane.wait_for("less than or equal to 48")
    jane.wait_for(": ")
    jane.type("2")
    jane.wait_for("email (like @): ")
    jane.type("noc@example.net")
    jane.wait_for("vlans")
    jane.type("")
    jane.wait_for("remark")
    jane.type("")
    assert jane.ends() == 0
    assert "completed" in jane.seen
    assert "\x1b[" in jane.raw


def test_no_color_is_honoured(person: Sit) -> None:
    """With NO_COLOR nothing is coloured, on a terminal too."""
    jane = person("workflows", "list", NO_COLOR="1")
    assert jane.ends() == 0
    assert "order_ports" in jane.seen
    assert not re.search(r"\x1b\[[0-9;]*3[1-7]m", jane.raw)


def test_nothing_is_started_when_somebody_gives_up(person: Sit) -> None:
    """Ctrl-C at a question is exit code 130, Ctrl-D says how else to answer."""
    jane = person("start", "order_ports")
    jane.wait_for("site: ")
    jane.press_ctrl_c()
    assert jane.ends() == 130
    jane = person("start", "order_ports")
    jane.wait_for("site: ")
    jane.type("\x04")
    assert jane.ends() == 2
    assert "give pages as JSON" in jane.seen


def test_a_list_is_watched_in_place(person: Sit, stepwire: Cli, started: Callable[..., str]) -> None:
    """It is drawn over what it was, until Ctrl-C; what was seen last stays."""
    process_id = started("waits", "suspended", "--label", "batch:watched")
    jane = person("process", "list", "--watch", "--label", "batch:watched")
    jane.wait_for("suspended")
    jane.wait_for("Ctrl-C stops watching")
    stepwire("process", "abort", process_id)
    jane.wait_for("aborted")
    jane.press_ctrl_c()
    assert jane.ends() == 0
    assert "\x1b[1A" in jane.raw
    *_, last = jane.seen.partition("Ctrl-C stops watching")
    assert re.search(rf"{process_id[:8]} +waits +aborted", last)


def test_a_watched_list_is_told_again_when_it_is_another(
    person: Sit, stepwire: Cli, started: Callable[..., str]
) -> None:
    """A line of JSON each, for a program that reads along."""
    process_id = started("waits", "suspended", "--label", "batch:told")
    jane = person("process", "list", "--watch", "--label", "batch:told", "--json")
    jane.wait_for('"suspended"')
    stepwire("process", "abort", process_id)
    jane.wait_for('"aborted"')
    jane.press_ctrl_c()
    assert jane.ends() == 0
    told = [json.loads(line) for line in jane.seen.splitlines() if line.startswith("[")]
    assert [[each["last_status"] for each in listed] for listed in told] == [["suspended"], ["aborted"]]


def test_an_abort_is_asked_for(person: Sit) -> None:
    """No is no: the process goes on."""
    start = person("start", "waits", "--json")
    assert start.ends() == 0
    found = re.search(r'"process_id": "([0-9a-f-]+)"', start.seen)
    assert found is not None
    jane = person("process", "abort", found[1])
    jane.wait_for("[y/N]")
    jane.type("n")
    assert jane.ends() == 1
    assert "stepwire: nothing was done, because the answer was not yes." in jane.seen
    jane = person("process", "abort", found[1], "--yes")
    assert jane.ends() == 0
