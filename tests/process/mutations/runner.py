"""Runs the tests of the heart against one mutated copy of it after the other, each in a fork of this program.

A fork costs a tenth of a new interpreter. Prints one JSON line per run: mutation, tests, exit code of pytest, its last
words.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Imported before the forks, so that they need not; the heart itself is imported by each of them anew.
import hypothesis
import hypothesis.stateful
import pytest

import stepwire
import stepwire.contracts.commands
import stepwire.contracts.steps
import stepwire.flow.workflows
from tests.process.mutations.catalogue import CATALOGUE, Mutation

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parents[1]
PACKAGE = ROOT / "shared" / "stepwire" / "process"
TESTS = {"rules": HERE / "unit", "world": HERE / "properties"}
EXAMPLES = 500
LONGEST_SECONDS = 120
OPTIONS = (
    *("-q", "-x", "--noconftest", "--import-mode=importlib", "--tb=line", "-p", "no:cacheprovider"),
    *("-c", os.devnull, f"--rootdir={ROOT}", "-p", "no:randomly", "-o", f"pythonpath={ROOT}"),
)


def mutated(mutation: Mutation | None, folder: Path) -> Path:
    """Copy the heart into `folder` with one line changed; returns what `stepwire` is to be looked up in first.

    Raises:
        ValueError: the line is not there, or more than once: the mutation has to follow the code.
    """
    package = folder / "process"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    if mutation is not None:
        file = package / mutation.file
        source = file.read_text()
        if source.count(mutation.original) != 1:
            message = f"mutation {mutation.name}: {mutation.original!r} is not once in {mutation.file}; adapt it"
            raise ValueError(message)
        file.write_text(source.replace(mutation.original, mutation.replacement))
    return folder


def suites_of(mutation: Mutation | None) -> Iterator[str]:
    """Which tests must notice: those of the rules always fast and first, the world where it must by itself."""
    yield "rules"
    if mutation is None or mutation.alone:
        yield "world"


def run(folder: Path, tests: str, log: Path) -> int:
    """Run tests in a fork that imports the heart from `folder`; the exit code of pytest."""
    child = os.fork()
    if child == 0:
        os._exit(_run_here(folder, tests, log))
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _run_here(folder: Path, tests: str, log: Path) -> int:
    # A mutation may loop for ever.
    signal.alarm(LONGEST_SECONDS)
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    os.environ["STEPWIRE_PROPERTIES_EXAMPLES"] = str(EXAMPLES)
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutations", derandomize=True, database=None, phases=phases)
    hypothesis.settings.load_profile("mutations")
    stepwire.__path__.insert(0, str(folder))
    return int(pytest.main([*OPTIONS, str(TESTS[tests])]))


def main(names: list[str]) -> None:
    """Run all mutations, or those that are named; first of all the heart as it is."""
    chosen = [m for m in CATALOGUE if not names or m.name in names]
    with tempfile.TemporaryDirectory() as base:
        for mutation in (None, *chosen):
            name = mutation.name if mutation else "none"
            folder = mutated(mutation, Path(base, name))
            for tests in suites_of(mutation):
                log = folder / f"{tests}.log"
                code = run(folder, tests, log)
                words = log.read_text().splitlines()[-12:]
                sys.stdout.write(json.dumps({"mutation": name, "tests": tests, "code": code, "words": words}) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
