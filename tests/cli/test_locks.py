"""`stepwire lock`: who holds what, and how to free it."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest

from stepwire_cli.stack import Stack
from tests.cli.conftest import Cli, status_of
from tests.support.waiting import wait_for

Started = Callable[..., str]


def test_a_lock_is_shown_with_its_line_and_released(stepwire: Cli, stack: Stack, started: Started) -> None:
    """The next in the line gets it; the failed one that held it goes on without it."""
    holder = started("locks_and_breaks", "failed")
    waiter = stepwire("start", "locks_and_breaks", "--json").json["process_id"]

    def waiters() -> list[str]:
        return [each["process_id"] for each in stepwire("lock", "show", "rack:ams", "--json").json["waiters"]]

    wait_for(lambda: waiters() == [waiter], what="the line")
    listed = next(each for each in stepwire("lock", "list", "--json").json if each["key"] == "resource:rack:ams")
    assert (listed["owner"], listed["workflow"], listed["status"]) == (holder, "locks_and_breaks", "failed")
    assert holder in stepwire("lock", "list").out
    assert waiter in stepwire("lock", "show", "resource:rack:ams").out
    assert stepwire("lock", "release", "rack:ams").code == 2
    done = stepwire("lock", "release", "rack:ams", "--reason", "the rack is empty", "--json")
    assert done.json == {"key": "resource:rack:ams", "released": True, "owner": holder}
    wait_for(lambda: status_of(stack, waiter) == "failed", what="the next in the line")
    assert stepwire("lock", "show", "rack:ams", "--json").json["owner"] == waiter
    for process_id in (holder, waiter):
        stepwire("process", "abort", process_id)
    wait_for(lambda: stepwire("lock", "show", "rack:ams", "--json").json["owner"] is None)
    assert stepwire("lock", "release", "rack:ams", "--reason", "x").out == "Nobody holds resource:rack:ams.\n"


def test_a_process_on_its_way_keeps_its_lock(stepwire: Cli, started: Started) -> None:
    """Unless it is forced."""
    holder = started("locks_and_waits", "suspended")
    refused = stepwire("lock", "release", "rack:lon", "--reason", "x")
    assert refused.code == 1
    assert "abort that one, or say --force" in refused.err
    assert stepwire("lock", "release", "rack:lon", "--reason", "x", "--force").code == 0
    assert stepwire("lock", "show", "rack:lon", "--json").json["owner"] is None
    stepwire("process", "abort", holder)


@pytest.mark.parametrize("command", [("show",), ("release", "--reason", "x")])
def test_a_lock_there_is_not(stepwire: Cli, started: Started, command: tuple[str, ...]) -> None:
    """Near keys are offered; a bare id is that of a subscription."""
    holder = started("locks_and_waits", "suspended")
    done = stepwire("lock", *command, "rack:lom")
    assert done.code == 1
    assert "there is no lock 'resource:rack:lom'; did you mean resource:rack:lon?" in done.err
    subscription = str(uuid4())
    assert f"'subscription:{subscription}'" in stepwire("lock", *command, subscription).err
    stepwire("process", "abort", holder)


def test_without_servers(alone: Cli) -> None:
    """Exit code 3, naming the address."""
    nowhere = {"STEPWIRE_DATABASE_URL": "postgresql://me@127.0.0.1:1/x"}
    for arguments in (("list",), ("show", "x"), ("release", "x", "--reason", "y")):
        done = alone("lock", *arguments, settings=nowhere)
        assert done.code == 3
        assert "127.0.0.1:1" in done.err
    assert alone("lock", "list", "x").code == 2
