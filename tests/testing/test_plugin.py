"""The pytest plugin, in sessions of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.support.paths import ROOT

IDLE = """
import sys

def test_nothing_is_imported():
    "Whoever does not use the fixtures does not pay for them."
    found = {name.partition(".")[0] for name in sys.modules}
    assert found.isdisjoint({"stepwire", "pydantic", "orjson", "sqlalchemy", "pydantic_forms"}), sorted(found)
"""
USED = """
from uuid import UUID

import pytest
from stepwire import Target, current, done, init, lock_subscription, retrystep, unlock_subscription, workflow
from stepwire.testing import assert_complete, assert_waiting, run_workflow, skip_time

SUBSCRIPTION = UUID(int=7)


@retrystep("Call")
def call():
    if current.attempt == 1:
        raise ConnectionError


@workflow("Calls", target=Target.MODIFY)
def calling():
    return init >> lock_subscription >> call >> unlock_subscription >> done


@pytest.fixture
def stepwire_workflows():
    return [calling]


@pytest.fixture
def stepwire_subscriptions():
    return [SUBSCRIPTION]


def test_the_engine_is_there(stepwire_engine):
    result = run_workflow("calling", engine=stepwire_engine, subscription_id=str(SUBSCRIPTION))
    assert_waiting(result)
    before = stepwire_engine.now
    skip_time(stepwire_engine)
    assert_complete(result)
    assert (stepwire_engine.now - before).total_seconds() > 30


def test_each_test_has_its_own(stepwire_engine):
    assert stepwire_engine.records == {}
"""


def session(folder: Path, test: str) -> str:
    """What pytest says in a session of its own, with the plugin as an installation loads it."""
    (folder / "test_it.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-p", "stepwire_pytest", "-q", "test_it.py"]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


def test_who_does_not_use_it_does_not_pay(tmp_path: Path) -> None:
    """Nothing of Stepwire is imported before a fixture is asked for."""
    assert "1 passed" in session(tmp_path, IDLE)


def test_an_engine_comes_as_a_fixture(tmp_path: Path) -> None:
    """With the workflows and subscriptions of the author's own fixtures, anew for each test."""
    assert "2 passed" in session(tmp_path, USED)


def test_an_installation_has_the_plugin() -> None:
    """Its entry point is named as its module, so that naming it again loads it once."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"stepwire_pytest": "stepwire_pytest"}
