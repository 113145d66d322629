"""`stepwire engine`, and the documents and settings that every installation can tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.support.waiting import wait_for


@pytest.fixture
def running_again(stepwire: Cli) -> Iterator[None]:
    """Whatever the test does, the engine goes on afterwards."""
    yield
    assert stepwire("engine", "unpause").code == 0


def test_the_engine_is_paused_and_goes_on(stepwire: Cli, running_again: None) -> None:
    """While it is, a start is refused, and one that holds is taken."""
    assert stepwire("engine", "status", "--json").json["global_status"] == "RUNNING"
    assert stepwire("engine", "pause").out == "The engine is paused.\n"
    assert "paused" in stepwire("engine", "status").out
    refused = stepwire("start", "hello")
    assert refused.code == 1
    assert "the engine is paused" in refused.err
    held = stepwire("start", "hello", "--hold", "--json").json
    assert stepwire("engine", "unpause", "--json").json["global_status"] == "RUNNING"
    wait_for(lambda: stepwire("process", "show", held["process_id"]).code == 0, what="the process that was held")
    assert stepwire("process", "follow", held["process_id"]).code == 0


def test_tasks_are_retried(stepwire: Cli) -> None:
    """The answer says how many."""
    assert "count" in stepwire("engine", "retry-tasks", "--json").json


@pytest.mark.parametrize("words", [("status",), ("pause",), ("unpause",), ("retry-tasks",)])
def test_an_engine_that_is_not_there(alone: Cli, words: tuple[str, ...]) -> None:
    """Exit code 3, naming the address; another server is no gateway."""
    done = alone("engine", *words, "--url", "http://127.0.0.1:1")
    assert done.code == 3
    assert "http://127.0.0.1:1" in done.err
    assert alone("engine", *words, "--no-such-option").code == 2


def test_settings_are_shown_with_their_sources(alone: Cli, tmp_path: Path) -> None:
    """Secrets are hidden, also in a URL; a typing mistake is named beside it."""
    file = tmp_path / "settings.env"
    file.write_text("STEPWIRE_BATCH_MAX_RECORDS=7\n")
    given = {
        "STEPWIRE_CALLBACK_SECRETS": "verysecret",
        "STEPWIRE_DATABASE_URL": "postgresql://me:verysecret@db/x",
        "STEPWIRE_ENV_FILE": str(file),
        "STEPWIRE_QUEUE": "x",
    }
    done = alone("settings", settings=given)
    assert done.code == 0
    assert "verysecret" not in done.out
    assert "STEPWIRE_QUEUE is no setting of Stepwire; did you mean STEPWIRE_QUEUES?" in done.err
    shown = alone("settings", "--json", settings=given).json
    assert shown["STEPWIRE_CALLBACK_SECRETS"] == {"value": "********", "source": "environment"}
    assert shown["STEPWIRE_BATCH_MAX_RECORDS"] == {"value": "7", "source": str(file)}
    assert shown["STEPWIRE_TOPIC_PARTITIONS"] == {"value": "12", "source": "default"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STEPWIRE_GATEWAY_PORT", "http"),
        ("STEPWIRE_GATEWAY_PORT", "70000"),
        ("STEPWIRE_EXECUTOR_THREADS", "0"),
        ("STEPWIRE_LOG_LEVEL", "loud"),
        ("STEPWIRE_DATABASE_URL", "mysql://x"),
        ("STEPWIRE_ENV_FILE", "/no/such/file"),
    ],
)
@pytest.mark.parametrize("words", [("settings",), ("process", "list"), ("gateway",)])
def test_a_setting_that_cannot_be_used(alone: Cli, words: tuple[str, ...], name: str, value: str) -> None:
    """The sentence names setting, value and source, whichever command is given."""
    done = alone(*words, settings={name: value})
    assert done.code == 2
    assert name in done.err
    assert value in done.err
    assert "Traceback" not in done.err


def test_the_documents_are_printed(alone: Cli) -> None:
    """AsyncAPI with the topics as they are named by the settings, OpenAPI with all routes; neither takes arguments."""
    records = alone("asyncapi", settings={"STEPWIRE_TOPIC_PREFIX": "acme."}).json
    assert records["channels"]["callbacks"]["address"] == "acme.callbacks"
    routes = alone("openapi").json
    assert "/api/processes/{workflow}" in routes["paths"]
    assert alone("asyncapi", "x").code == 2
    assert alone("openapi", "x").code == 2
