"""A list of mistakes is kept, and each must be noticed: so the tests are known to test something."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.process.mutations.catalogue import CATALOGUE
from tests.process.mutations.runner import ROOT, suites_of

Outcome = dict[str, Any]
RUNS = [(m.name if m else "none", tests) for m in (None, *CATALOGUE) for tests in suites_of(m)]

# They come together, in one program that forks: a minute on an idle machine.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def outcomes() -> dict[tuple[str, str], Outcome]:
    """What became of every run, by mutation and tests."""
    command = [sys.executable, "-m", "tests.process.mutations.runner"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {(line["mutation"], line["tests"]): line for line in lines}


@pytest.mark.parametrize(("mutation", "tests"), [run for run in RUNS if run[0] == "none"])
def test_the_heart_as_it_is_passes(outcomes: dict[tuple[str, str], Outcome], mutation: str, tests: str) -> None:
    """Else a mutation that fails would prove nothing."""
    outcome = outcomes[mutation, tests]
    assert outcome["code"] == pytest.ExitCode.OK, outcome["words"]


@pytest.mark.parametrize(("mutation", "tests"), [run for run in RUNS if run[0] != "none"])
def test_every_mistake_is_noticed(outcomes: dict[tuple[str, str], Outcome], mutation: str, tests: str) -> None:
    """By a failing test, not by an error on the way to it."""
    outcome = outcomes[mutation, tests]
    assert outcome["code"] == pytest.ExitCode.TESTS_FAILED, outcome["words"]


def test_the_list_is_long_and_says_what_would_break() -> None:
    """Names are told apart, and every mistake is one line that means something."""
    names = [mutation.name for mutation in CATALOGUE]
    assert len(set(names)) == len(names) >= 15
    assert all(mutation.breaks and mutation.original != mutation.replacement for mutation in CATALOGUE)
