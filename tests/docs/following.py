"""Following a page word by word: its files are written, its commands are typed, its outputs compared."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.blocks import Block
from tests.support.waiting import wait_for

SECONDS = 30.0
LOOK_SECONDS = 15.0
PAUSE_SECONDS = 0.1
LEFT_RUNNING = "Leave it running"
OUTPUT = "Output"
# What is sent is typed once.
CHANGES = re.compile(r"\s-[XP]\s|stepwire (start|process (resume|retry|skip|abort|note)|engine (un)?pause)\b")
_VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "<date>"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "<time>"),
    (re.compile(r"\b\d+(\.\d+)? ?(ms|s|min|h|d)\b( \d+ (s|min|h)\b)?"), "<duration>"),
    # Columns are as wide as what varies in them.
    (re.compile(r" {2,}"), "  "),
)
BASH = shutil.which("bash") or "/bin/bash"
GATEWAY = "localhost:8080"
KAFKA = "localhost:9092"


@dataclass
class Reader:
    """Somebody who types what a page says, in a folder; `addresses` are where things are in place of the usual."""

    folder: Path
    tools: Path | None = None
    addresses: dict[str, str] = field(default_factory=dict)
    said: str = ""
    _last: str = ""
    _deadline: float = 0.0

    def do(self, block: Block) -> None:
        """Do what a block says; compare what it shows with what the command before it has said."""
        if block.title == OUTPUT:
            self._compare(block.text)
        elif block.language == "sh":
            self._last = block.text
            self._deadline = time.monotonic() + LOOK_SECONDS
            self.said = self._run(block.text)
        elif block.title is not None:
            (self.folder / block.title).write_text(block.text, encoding="utf-8")

    @contextmanager
    def running(self, block: Block) -> Iterator[None]:
        """Type a command that goes on, as `stepwire dev`; end it with Ctrl-C."""
        with (self.folder / "dev.log").open("w") as log:
            process = subprocess.Popen(
                [BASH, "-c", f"exec env {block.text}"], cwd=self.folder, env=self._environment, stdout=log, stderr=log
            )
        try:
            self._find_addresses(process)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(SECONDS)
        assert code == 0

    def _find_addresses(self, process: subprocess.Popen[bytes]) -> None:
        path = self.folder / ".stepwire" / "stack.json"
        wait_for(lambda: path.exists() or process.poll() is not None, SECONDS * 3, "a running stack")
        assert process.poll() is None, (self.folder / "dev.log").read_text()
        state = json.loads(path.read_text())
        self.addresses = {GATEWAY: state["gateway_url"].removeprefix("http://"), KAFKA: state["kafka_bootstrap"]}

    def _compare(self, expected: str) -> None:
        """A command that only looks is typed again until it shows what the page says."""
        while not shows(self.said, expected) and self._may_look_again():
            self.said = self._run(self._last)
        assert shows(self.said, expected), f"{self._last}\nsaid\n{self.said}\nand not\n{expected}"

    def _run(self, script: str) -> str:
        typed = self._type(script)
        while typed.returncode != 0 and self._may_look_again():
            typed = self._type(script)
        assert typed.returncode == 0, f"{script}\n{typed.stdout}{typed.stderr}"
        return typed.stdout

    def _may_look_again(self) -> bool:
        time.sleep(PAUSE_SECONDS)
        return not CHANGES.search(self._last) and time.monotonic() < self._deadline

    def _type(self, script: str) -> subprocess.CompletedProcess[str]:
        for usual, here in self.addresses.items():
            script = script.replace(usual, here)
        where = self.folder / ".where"
        typed = subprocess.run(
            [BASH, "-eo", "pipefail", "-c", f"{script}\npwd > {where}"],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if typed.returncode == 0:
            self.folder = Path(where.read_text().strip())
        return typed

    @property
    def _environment(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("STEPWIRE_")}
        path = [*([str(self.tools)] if self.tools else []), str(Path(sys.executable).parent), ours["PATH"]]
        return {**ours, "PATH": os.pathsep.join(path)}


def shows(said: str, expected: str) -> bool:
    """Whether an output is what a page shows: `...` stands for any text; times and durations may differ."""
    parts = [re.escape(part) for part in _plain(expected).split("...")]
    return re.fullmatch(".*?".join(parts), _plain(said), re.DOTALL) is not None


def _plain(text: str) -> str:
    for varying, word in _VARYING:
        text = varying.sub(word, text)
    # A line of dots stands for any number of lines, also none.
    return re.sub(r"\n\.\.\.(?=\n|$)", "...", "\n".join(line.rstrip() for line in text.splitlines()).strip())
