"""Runs the tests of the heart against one mutation of it after the other, each in a fork of this program.

The tests are collected once. Each fork puts the mutated code into the functions of the heart and runs the tests: first
those that reach these functions, then all others, until one fails. Prints one JSON line per run: mutation, tests, exit
code of pytest, which test failed, and its last words.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, FunctionType

import hypothesis
import pytest

from tests.process.mutations.catalogue import CATALOGUE, Mutation
from tests.process.mutations.swapping import MODULES, ROOT, functions, mutated, put_in, unchanged

HERE = Path(__file__).resolve().parents[1]
TESTS = {"rules": HERE / "unit", "world": HERE / "properties"}
EXAMPLES = 500
LONGEST_SECONDS = 300
AT_ONCE = 2
# Other tests may run beside, and have deadlines.
NICENESS = 5
KEPT_LINES = 12
OPTIONS = (
    *("-x", "-s", "--noconftest", "--import-mode=importlib", "-p", "no:cacheprovider", "-p", "no:terminal"),
    *("-c", os.devnull, f"--rootdir={ROOT}", "-o", f"pythonpath={ROOT}"),
)
Names = frozenset[str]


@dataclass(frozen=True)
class Run:
    """Some tests against a mutation, or against the heart as it is."""

    mutation: Mutation | None
    tests: str

    @property
    def name(self) -> str:
        """The mutation's name."""
        return self.mutation.name if self.mutation else "none"


def runs_of(mutation: Mutation | None) -> Iterator[Run]:
    """Which tests must notice: those of the rules always fast and first, the world where it must by itself."""
    yield Run(mutation, "rules")
    if mutation is None or mutation.alone:
        yield Run(mutation, "world")


@dataclass
class Told:
    """What a fork leaves in a file."""

    test: str | None = None
    words: list[str] = field(default_factory=list)
    reached: dict[str, list[str]] = field(default_factory=dict)


class Forks:
    """A plugin of pytest: where the tests would begin, the program forks, and only forks go on to run them."""

    def __init__(self, runs: list[Run], folder: Path) -> None:
        self.told: Told | None = None  # only in a fork
        self._runs = runs
        self._folder = folder
        self._running: dict[int, Run] = {}
        self._reached: dict[str, Names] = {}
        self._watching = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Fork for each run; true says to pytest that nothing is left to be run."""
        heart = functions()
        gc.freeze()
        for run in self._runs:
            if (pid := os.fork()) == 0:
                session.items[:] = self._begin(run, heart, session.items)
                return None
            self._running[pid] = run
            # All others want to know which test reaches which function.
            if len(self._running) == AT_ONCE or not self._reached:
                self._end_one()
        while self._running:
            self._end_one()
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Note what a test reaches, where that is asked for."""
        if not self._watching or self.told is None:
            return (yield)
        met: set[str] = set()

        def note(frame: FrameType, event: str, _: object) -> None:
            if event == "call" and frame.f_globals.get("__name__", "").startswith(MODULES):
                met.add(_name_of(frame.f_code))

        sys.setprofile(note)
        try:
            return (yield)
        finally:
            sys.setprofile(None)
            self.told.reached[item.nodeid] = sorted(met)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember what failed."""
        if self.told is not None and report.failed:
            self.told.test, self.told.words = report.nodeid, report.longreprtext.splitlines()[-KEPT_LINES:]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Tests that cannot be collected end the program; say why."""
        if report.failed:
            sys.stderr.write(report.longreprtext + "\n")

    def leave(self, code: int) -> None:
        """End a fork."""
        self._file(os.getpid()).write_text(json.dumps(vars(self.told)))
        os._exit(code)

    def _begin(self, run: Run, heart: list[FunctionType], items: list[pytest.Item]) -> list[pytest.Item]:
        # A mutation may loop for ever.
        signal.alarm(LONGEST_SECONDS)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        self.told = Told()
        self._watching = not self._reached
        replaced = mutated(run.mutation) if run.mutation else unchanged()
        put_in(replaced, heart)
        names = frozenset(map(_name_of, replaced))
        return sorted((i for i in items if TESTS[run.tests] in i.path.parents), key=lambda i: self._rank(i, names))

    def _rank(self, item: pytest.Item, names: Names) -> tuple[bool, int]:
        """Tests that reach these functions come first, and of those the ones that reach little else."""
        reached = self._reached.get(item.nodeid, frozenset())
        return not reached & names, len(reached)

    def _end_one(self) -> None:
        pid, status = os.wait()
        run, file = self._running.pop(pid), self._file(pid)
        told = Told(**json.loads(file.read_text())) if file.exists() else Told(words=["It wrote nothing."])
        self._reached = self._reached or {test: frozenset(names) for test, names in told.reached.items()}
        code = os.waitstatus_to_exitcode(status)
        line = {"mutation": run.name, "tests": run.tests, "code": code, "test": told.test, "words": told.words}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    def _file(self, pid: int) -> Path:
        return self._folder / f"{pid}.json"


def _name_of(code: CodeType) -> str:
    return code.co_qualname


def main(names: list[str]) -> None:
    """Run all mutations, or those that are named; first of all the heart as it is."""
    chosen = [m for m in CATALOGUE if not names or m.name in names]
    runs = [run for mutation in (None, *chosen) for run in runs_of(mutation)]
    os.nice(NICENESS)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ["STEPWIRE_PROPERTIES_EXAMPLES"] = str(EXAMPLES)
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    # A busy machine would break a deadline per example, and the usual one bounds the making of examples, too.
    hypothesis.settings.register_profile("mutations", derandomize=True, database=None, deadline=None, phases=phases)
    hypothesis.settings.load_profile("mutations")
    with tempfile.TemporaryDirectory() as folder:
        forks = Forks(runs, Path(folder))
        code = int(pytest.main([*OPTIONS, *map(str, TESTS.values())], plugins=[forks]))
        if forks.told is not None:
            forks.leave(code)
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
