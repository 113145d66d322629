"""The demo as a person runs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.paths import ROOT


def demo(*arguments: str) -> tuple[int, str]:
    """Exit code and output of the demo."""
    command = [sys.executable, "-m", "examples.node.demo", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(240)
def test_every_order_is_worked_on_exactly_once_although_the_executor_is_killed() -> None:
    """All proofs hold; what became of the three bad orders is told."""
    code, text = demo()
    assert code == 0, text
    assert "killed with SIGKILL" in text
    assert text.count("dead letter") >= 2
    assert "unknown_workflow" in text
    assert "invalid_input" in text
    assert "WRONG" not in text


@pytest.mark.timeout(240)
def test_without_outcomes_the_crash_leaves_duplicates() -> None:
    """The proof is one that can fail: with the safety off the same crash is reported, and the exit code says so."""
    code, text = demo("--unsafe-no-outcomes")
    assert code == 1, text
    assert "too much" in text
    assert "Traceback" not in text
