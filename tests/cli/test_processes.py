"""`stepwire process`: looking at processes and telling them what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from stepwire.contracts.commands import process_id_of
from stepwire_cli.stack import Stack
from tests.cli.conftest import Cli, settings_of, status_of
from tests.support.waiting import wait_for

Started = Callable[..., str]


def test_processes_are_listed_by_what_is_asked_for(stepwire: Cli, started: Started) -> None:
    """Status, workflow, label, tasks, any filter of the API, order and range."""
    first = started("hello", "completed", "--label", "batch:list")
    second = started("waits", "suspended", "--label", "batch:list")
    ours = ("process", "list", "--label", "batch:list", "--json")

    def ids(*options: str) -> list[str]:
        return [each["process_id"] for each in stepwire(*ours, *options).json]

    assert ids() == [second, first]
    assert ids("--sort", "started_at,asc") == [first, second]
    assert ids("--range", "1,2") == [first]
    assert ids("--status", "suspended", "--status", "failed") == [second]
    assert ids("--workflow", "hello") == [first]
    assert ids("--filter", f"process_id,{second}") == [second]
    assert ids("--no-tasks") == []
    shown = stepwire("process", "list", "--label", "batch:list").out
    assert first[:8] in shown
    assert "Wait, by NOC" in shown
    assert first in stepwire("process", "list", settings={"COLUMNS": "160"}).out
    narrow = stepwire("process", "list", settings={"COLUMNS": "60"}).out.splitlines()
    assert narrow[0].split() == ["Process", "Workflow", "Status", "Step"]
    assert "No process is like that." in stepwire("process", "list", "--label", "batch:none").out
    stepwire("process", "abort", second)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--status", "fail"), "'fail' is no status of a process; did you mean failed?"),
        (("--sort", "age,desc"), "lists cannot be sorted by 'age'"),
        (("--range", "many"), "range 'many' is not written as first,last"),
        (("--filter", "colour,red"), "lists cannot be filtered by 'colour'"),
        (("--subscription", "x"), "subscription_id must be a UUID"),
    ],
)
def test_a_wrong_filter_is_told(stepwire: Cli, options: tuple[str, ...], sentence: str) -> None:
    """Exit code 2: the question was wrong, to be answered once or to be watched."""
    for more in ((), ("--watch",)):
        done = stepwire("process", "list", *options, *more)
        assert done.code == 2
        assert sentence in done.err
        assert done.out == ""


def test_a_process_is_shown_with_its_steps_and_errors(stepwire: Cli, started: Started) -> None:
    """By the beginning of its id; State and traceback if they are asked for."""
    process_id = started("breaks", "failed")
    shown = stepwire("process", "show", process_id[:13])
    assert shown.code == 0
    assert "Break (node 2, attempt 1): RuntimeError: the line card of nowhere is gone" in shown.out
    assert "pending" in shown.out
    assert "workflow_name" not in shown.out
    more = stepwire("process", "show", process_id, "--state", "--traceback").out
    assert '"workflow_name": "breaks"' in more
    assert "in break_down" in more


@pytest.mark.parametrize("command", ["show", "follow", "resume", "retry", "abort"])
@pytest.mark.parametrize(
    ("process", "code", "sentence"),
    [
        ("nonsense", 2, "'nonsense' is no process id; give a UUID, or at least its first 4 digits."),
        ("ffffff", 1, "no process has an id that begins with 'ffffff'"),
        ("11111111-1111-1111-1111-111111111111", 1, "there is no such process; check the id"),
    ],
)
def test_a_wrong_id_is_told(stepwire: Cli, command: str, process: str, code: int, sentence: str) -> None:
    """Whatever shall be done with it."""
    done = stepwire("process", command, process)
    assert done.code == code
    assert sentence in done.err


def test_an_id_must_be_unique(stepwire: Cli, started: Started) -> None:
    """A beginning that several have names some of them."""
    digit = str(process_id_of("alike-0"))[0]
    alike = [name for name in (f"alike-{n}" for n in range(100)) if str(process_id_of(name))[0] == digit]
    first, second = (started("hello", "completed", "--command-id", name) for name in alike[:2])
    assert first[0] == second[0]
    done = stepwire("process", "list", "--filter", f"process_id,{first[0]}", "--json")
    assert len(done.json) > 1
    assert all(each["process_id"].startswith(first[0]) for each in done.json)


def test_following_tells_every_step_and_ends_with_the_process(stepwire: Cli, stack: Stack, started: Started) -> None:
    """It waits while the process waits; an aborted one is exit code 1; lines of JSON have a kind."""
    process_id = started("waits", "suspended")
    command = [sys.executable, "-m", "stepwire_cli", "process", "follow", process_id, "--json"]
    lines = []
    with subprocess.Popen(command, env={**os.environ, **settings_of(stack)}, stdout=subprocess.PIPE) as following:
        for line in map(json.loads, following.stdout or ()):
            lines.append(line)
            if line.get("last_status") == "suspended":
                stepwire("process", "abort", process_id)
    assert following.returncode == 1
    kinds = [(line["kind"], line.get("name") or line.get("last_status") or line.get("status")) for line in lines]
    assert kinds == [
        ("step", "Start"),
        ("step", "Wait"),
        ("status", "suspended"),
        ("step", "User aborted"),
        ("status", "aborted"),
        ("end", "aborted"),
    ]


def test_a_suspended_process_goes_on_with_its_answers(stepwire: Cli, started: Started) -> None:
    """Asked, or given as fields or pages; who answered is in the log."""
    for arguments, typed in (((), "y\n\n"), (("-f", "confirmed=no"), ""), (('[{"confirmed": true}]',), "")):
        process_id = started("confirmed", "suspended")
        done = stepwire("process", "resume", process_id, *arguments, "--user", "jane", typed=typed)
        assert done.code == 0, done.err
        assert stepwire("process", "follow", process_id).code == 0
        steps = stepwire("process", "show", process_id, "--json").json["steps"]
        assert next(step for step in steps if step["name"] == "Confirm")["created_by"] == "jane"


def test_a_wrong_answer_changes_nothing(stepwire: Cli, stack: Stack, started: Started) -> None:
    """It is told, and the process waits on."""
    process_id = started("confirmed", "suspended")
    done = stepwire("process", "resume", process_id, '[{"confirmed": "perhaps"}]')
    assert done.code == 1
    assert "confirmed" in done.err
    assert "gives its input" in stepwire("process", "retry", process_id).err
    assert status_of(stack, process_id) == "suspended"
    stepwire("process", "abort", process_id)


def test_a_failed_step_is_retried_or_skipped(stepwire: Cli, stack: Stack, started: Started) -> None:
    """A skip needs a reason, and its State is an object."""
    process_id = started("breaks", "failed")
    assert stepwire("process", "retry", process_id).code == 0
    wait_for(lambda: status_of(stack, process_id) == "failed")
    assert stepwire("process", "skip", process_id).code == 2
    wrong = stepwire("process", "skip", process_id, "--reason", "by hand", "--state", "[1]")
    assert "--state must be a JSON object" in wrong.err
    done = stepwire("process", "skip", process_id, "--reason", "by hand", "--state", '{"site": "ams-1"}')
    assert done.code == 0, done.err
    assert stepwire("process", "follow", process_id).code == 0
    shown = stepwire("process", "show", process_id, "--json").json
    assert shown["current_state"]["site"] == "ams-1"
    again = stepwire("process", "skip", process_id, "--reason", "by hand")
    assert again.code == 1
    assert "no step of it could be skipped" in again.err
    assert stepwire("process", "resume", process_id).code == 1


def test_a_process_is_aborted_and_has_a_note(stepwire: Cli, stack: Stack, started: Started) -> None:
    """One that has ended stays as it is."""
    process_id = started("waits", "suspended")
    assert stepwire("process", "note", process_id, "call first").code == 0
    assert stepwire("process", "note", process_id, "x" * 5001).code == 2
    assert stepwire("process", "show", process_id, "--json").json["note"] == "call first"
    done = stepwire("process", "abort", process_id, "--reason", "cancelled", "--json")
    assert done.json == {"process_id": process_id, "accepted": True}
    assert "had ended before: it is aborted" in stepwire("process", "abort", process_id).out
    assert status_of(stack, process_id) == "aborted"
