"""A list of mistakes is kept, and each must be noticed: so the tests are known to test something."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from typing import Any

import pytest

from tests.process.mutations.catalogue import CATALOGUE, Mutation
from tests.process.mutations.runner import runs_of
from tests.process.mutations.swapping import ROOT, functions, mutated, put_in

Outcome = dict[str, Any]
RUNS = [(run.name, run.tests) for mutation in (None, *CATALOGUE) for run in runs_of(mutation)]

# They come together, in one program that forks: half a minute on an idle machine.
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
    """Also with code put in as that of a mutation is; else a mutation that fails would prove nothing."""
    outcome = outcomes[mutation, tests]
    assert outcome["code"] == pytest.ExitCode.OK, outcome["words"]


@pytest.mark.parametrize(("mutation", "tests"), [run for run in RUNS if run[0] != "none"])
def test_every_mistake_is_noticed(outcomes: dict[tuple[str, str], Outcome], mutation: str, tests: str) -> None:
    """By a failing test, not by an error on the way to it."""
    outcome = outcomes[mutation, tests]
    assert outcome["code"] == pytest.ExitCode.TESTS_FAILED, outcome["words"]
    assert outcome["test"], "something failed before or after the tests"


def test_the_list_is_long_and_says_what_would_break() -> None:
    """Names are told apart, and every mistake is one line that means something."""
    names = [mutation.name for mutation in CATALOGUE]
    assert len(set(names)) == len(names) >= 15
    assert all(mutation.breaks and mutation.original != mutation.replacement for mutation in CATALOGUE)


@pytest.mark.parametrize(
    ("original", "replacement", "said"),
    [
        ("no such line", "pass", "adapt it"),
        ("FAIL_AFTER_LOSSES = ", "FAIL_AFTER_LOSSES = 1 + ", "what one function does"),
        ("if lost >= FAIL_AFTER_LOSSES:", "if lost >= FAIL_AFTER_LOSSES:  # the same", "what one function does"),
    ],
)
def test_a_mistake_that_could_not_be_made_is_told(original: str, replacement: str, said: str) -> None:
    """Else it would be noticed by nobody, or only seem to be."""
    with pytest.raises(ValueError, match=said):
        mutated(Mutation("a_test", "waits.py", original, replacement, "nothing"))


def test_code_of_a_function_that_is_not_loaded_is_not_put_in() -> None:
    """Else the heart would be tested as it is."""
    replaced = mutated(next(m for m in CATALOGUE if m.name == "losses_never_end"))
    importlib.import_module("stepwire.process.waits")
    others = [function for function in functions() if function.__code__ not in replaced]
    assert len(others) == len(functions()) - 1
    with pytest.raises(ValueError, match="not loaded"):
        put_in(replaced, others)
