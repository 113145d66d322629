"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

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


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        (("db", "upgrade"), "check STEPWIRE_DATABASE_URL"),
        (("topics", "create"), "no broker answers; check STEPWIRE_KAFKA_BOOTSTRAP"),
    ],
)
def test_what_cannot_be_reached_is_exit_code_3(command: tuple[str, ...], remedy: str) -> None:
    """One sentence names the address and what to check, and no library tells it too."""
    nowhere = {"STEPWIRE_DATABASE_URL": "postgresql://me@127.0.0.1:1/x", "STEPWIRE_KAFKA_BOOTSTRAP": "127.0.0.1:1"}
    done = stepwire(*command, environment=nowhere)
    assert done.returncode == 3
    assert "127.0.0.1:1" in done.stderr
    assert done.stderr.endswith(f"{remedy}.\n")
    assert done.stderr.count("\n") == 1


def test_wrong_usage_is_exit_code_2() -> None:
    """A command or setting that does not exist, a value that cannot be used, a dev stack without workflows."""
    assert stepwire("nonsense").returncode == 2
    assert stepwire("db", "upgrade", environment={"STEPWIRE_LOG_LEVEL": "loud"}).returncode == 2
    refused = stepwire("dev")
    assert refused.returncode == 2
    assert "STEPWIRE_WORKFLOWS" in refused.stderr
    unknown = stepwire("dev", environment={"STEPWIRE_WORKFLOWS": "no_such_package"})
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "package 'no_such_package' cannot be found" in unknown.stderr
    taken = stepwire("dev", "--folder", __file__, environment={"STEPWIRE_WORKFLOWS": "tests.cli.flows"})
    assert (taken.returncode, taken.stdout) == (2, "")
    assert taken.stderr.endswith("test_main.py cannot hold data: File exists.\n")
    foreign = stepwire("db", "check", environment={"STEPWIRE_DATABASE_URL": "mysql://x/y"})
    assert "cannot be used: must begin with postgresql://." in foreign.stderr
    half = stepwire("process", "list", "--url", "http://[")
    assert (half.returncode, "is no address of a gateway" in half.stderr) == (2, True)


@pytest.mark.parametrize(
    ("package", "code", "sentence"),
    [
        ("", 2, "STEPWIRE_WORKFLOWS is not set; name the packages with your workflows."),
        ("no_such_package", 2, "package 'no_such_package' cannot be found: check STEPWIRE_WORKFLOWS"),
        ("faulty", 1, "importing 'faulty' raised KeyError: 'euro': correct this line ({folder}/faulty.py:1)"),
    ],
)
def test_an_executor_tells_what_is_wrong_with_workflows_without_a_traceback(
    settings: Settings, tmp_path: Path, package: str, code: int, sentence: str
) -> None:
    """It is the author who reads it."""
    (tmp_path / "faulty.py").write_text("rate = {}['euro']\n")
    told = {"STEPWIRE_WORKFLOWS": package, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    done = stepwire("executor", environment={**environment_of(settings), **told})
    assert done.returncode == code
    last = json.loads(done.stderr.splitlines()[-1])
    assert last["level"] == "error"
    assert last["event"].startswith(sentence.format(folder=tmp_path))
    assert "Traceback" not in done.stderr


def test_a_terminal_without_all_letters_is_served() -> None:
    """Signs it lacks are question marks, in JSON they are escaped: nothing ends with an error of encoding."""
    plain = {"PYTHONUTF8": "1", "PYTHONIOENCODING": "ascii", "STEPWIRE_WORKFLOWS": "tests.cli.flows"}
    drawn = stepwire("workflows", "graph", "hello", environment=plain)
    assert (drawn.returncode, drawn.stderr) == (0, "")
    assert "? Start" in drawn.stdout
    shown = stepwire("settings", "--json", environment={**plain, "STEPWIRE_PUBLIC_URL": "http://zürich.example"})
    assert json.loads(shown.stdout)["STEPWIRE_PUBLIC_URL"]["value"] == "http://zürich.example"


@pytest.mark.parametrize(
    ("closed", "arguments", "told"),
    [
        (
            "<&-",
            ("start", "w", "-"),
            "stepwire: standard input is no JSON at line 1, column 1, near '': Expecting value.\n",
        ),
        ("<&- >&-", ("start", "w", "-"), "stepwire: standard input is no JSON at line 1, column 1"),
        ("2>&-", ("process", "show", "no-id"), ""),
    ],
)
def test_streams_may_be_closed(closed: str, arguments: tuple[str, ...], told: str) -> None:
    """By whoever starts it where nobody sits: it is the end of the input, and the exit code still says what it was."""
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "stepwire_cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(told)
    assert "Traceback" not in done.stderr


def test_the_version_is_told() -> None:
    """For whoever reports a bug."""
    assert stepwire("--version").stdout == f"stepwire {version('stepwire')}\n"


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
