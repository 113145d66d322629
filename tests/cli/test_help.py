"""The help: what it costs, and that no command is without an example."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from stepwire_cli.main import app
from tests.cli.conftest import Cli

HEAVY = {"sqlalchemy", "aiokafka", "fastapi", "faststream", "httpx", "alembic", "structlog"}
OF_SERVICES = {"sqlalchemy", "faststream", "fastapi", "aiokafka", "starlette"}


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that lead to it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands(typer.main.get_command(app)))


def loaded(program: str, names: set[str]) -> str:
    """Which of `names` are imported after `program`."""
    ending = f"import sys; sys.stderr.write(str(sorted({names!r} & set(sys.modules))))"
    run = [sys.executable, "-c", f"{program}; {ending}"]
    return subprocess.run(run, capture_output=True, text=True, check=True, timeout=60).stderr


def test_help_imports_nothing_heavy() -> None:
    """`stepwire --help` and that of a command have to be quick."""
    for arguments in ("['--help']", "['process', '--help']"):
        assert loaded(f"from stepwire_cli.main import run; run({arguments})", HEAVY) == "[]"


def test_the_language_imports_nothing_of_the_services() -> None:
    """`from stepwire import step, workflow` has to be quick too."""
    assert loaded("from stepwire import step, workflow", OF_SERVICES) == "[]"


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_has_an_example(path: tuple[str, ...]) -> None:
    """It begins with `stepwire`, or settings before it, and names this command."""
    command = ALL[path]
    assert command.epilog.startswith("Example: ")
    assert f"stepwire {' '.join(path)}" in command.epilog
    for parameter in command.params:
        assert parameter.help, parameter.name


def test_everything_asked_of_the_command_line_is_there() -> None:
    """The words operators are promised."""
    groups = {
        "db": "upgrade downgrade revision check",
        "topics": "create check",
        "workflows": "list show graph",
        "forms": "list fill",
        "process": "list show follow resume retry skip abort note",
        "engine": "pause unpause status",
        "lock": "list show release",
        "dlq": "list show replay discard",
    }
    wanted = {(group, name) for group, names in groups.items() for name in names.split()}
    alone = ("start", "settings", "asyncapi", "openapi", "coordinator", "executor", "gateway", "dev")
    assert wanted | {(name,) for name in alone} <= set(ALL)


def test_mistyped_words_are_told(alone: Cli) -> None:
    """With the word that is near."""
    for arguments, near in ((("proces",), "'process'"), (("process", "lst"), "'list'"), (("db", "chek"), "'check'")):
        done = alone(*arguments)
        assert done.code == 2
        assert f"Did you mean {near}" in done.err


def test_completion_can_be_installed(alone: Cli) -> None:
    """The shell asks the program itself."""
    done = alone("--help")
    assert "--install-completion" in done.out
    assert "Exit codes" in done.out


def test_the_shell_is_told_what_may_follow(alone: Cli) -> None:
    """As its completion asks: commands, and those of a group."""
    asked = {"_STEPWIRE_COMPLETE": "complete_bash", "COMP_WORDS": "stepwire process re", "COMP_CWORD": "2"}
    assert alone(settings=asked).out.split() == ["resume", "retry"]
