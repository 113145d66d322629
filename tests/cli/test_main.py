"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from stepwire.chassis.settings import Settings


def stepwire(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line as a person would."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STEPWIRE_")}
    return subprocess.run(
        [sys.executable, "-m", "stepwire_cli", *arguments],
        env={**clean, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment that leads to the test's servers."""
    return {
        "STEPWIRE_DATABASE_URL": settings.database_url,
        "STEPWIRE_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "STEPWIRE_TOPIC_PREFIX": settings.topic_prefix,
        "STEPWIRE_TOPIC_PARTITIONS": "2",
    }


def test_topics_are_created_and_found(settings: Settings) -> None:
    """The second time there is nothing to do; a queue gets topics of its own."""
    first = stepwire("topics", "create", "--json", environment=environment_of(settings))
    assert f"{settings.topic_prefix}callbacks.dlq" in json.loads(first.stdout)["created"]
    assert stepwire("topics", "create", environment=environment_of(settings)).stdout == "All topics exist.\n"
    more = stepwire("topics", "create", "--queue", "slow", "--json", environment=environment_of(settings))
    prefix = settings.topic_prefix
    assert json.loads(more.stdout)["created"] == [
        f"{prefix}step.commands.slow",
        f"{prefix}step.commands.slow.dlq",
        f"{prefix}forms.requests.slow",
        f"{prefix}forms.requests.slow.dlq",
    ]


def test_the_database_is_upgraded(settings: Settings) -> None:
    """It can be said again and again."""
    for _ in range(2):
        done = stepwire("db", "upgrade", "--json", environment=environment_of(settings))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["revisions"]


@pytest.mark.parametrize("command", [("db", "upgrade"), ("topics", "create")])
def test_what_cannot_be_reached_is_exit_code_3(command: tuple[str, ...]) -> None:
    """One sentence names the address."""
    nowhere = {"STEPWIRE_DATABASE_URL": "postgresql://me@127.0.0.1:1/x", "STEPWIRE_KAFKA_BOOTSTRAP": "127.0.0.1:1"}
    done = stepwire(*command, environment=nowhere)
    assert done.returncode == 3
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_usage_is_exit_code_2() -> None:
    """A command or setting that does not exist, a value that cannot be used, a dev stack without workflows."""
    assert stepwire("nonsense").returncode == 2
    assert stepwire("db", "upgrade", environment={"STEPWIRE_LOG_LEVEL": "loud"}).returncode == 2
    refused = stepwire("dev")
    assert refused.returncode == 2
    assert "STEPWIRE_WORKFLOWS" in refused.stderr


def test_settings_are_shown_with_their_sources() -> None:
    """Secrets are hidden, typing mistakes are named."""
    environment = {"STEPWIRE_CALLBACK_SECRETS": "verysecret", "STEPWIRE_QUEUE": "x"}
    done = stepwire("settings", "--json", environment=environment)
    shown = json.loads(done.stdout)
    assert shown["STEPWIRE_CALLBACK_SECRETS"] == {"value": "********", "source": "environment"}
    assert shown["STEPWIRE_BATCH_MAX_RECORDS"] == {"value": "1000", "source": "default"}
    assert "did you mean STEPWIRE_QUEUES?" in done.stderr
    assert "STEPWIRE_TOPIC_PREFIX" in stepwire("settings").stdout


def test_help_imports_nothing_heavy() -> None:
    """`stepwire --help` has to be quick: neither SQLAlchemy nor aiokafka nor pydantic is loaded for it."""
    program = "import sys, stepwire_cli.main; print({'sqlalchemy', 'aiokafka', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"


def test_the_language_alone_has_no_services() -> None:
    """Without the libraries of the services the command says what to install."""
    program = "import sys; sys.modules['typer'] = None; from stepwire_cli.entry import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3
    assert done.stderr == "stepwire: typer is not installed: pip install 'stepwire[coordinator]'.\n"
