"""The stack: services are started, watched, restarted and stopped; here with services that do nothing."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial

import pytest

from stepwire_cli.services import Service, StackError
from stepwire_cli.stack import Size, Stack
from tests.support.waiting import wait_for

WAIT_SECONDS = 30.0
LEAVES_BEHIND = """
import signal, subprocess, sys, time
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("left", left.pid, flush=True)
time.sleep(3600)
"""
TRIVIAL = (sys.executable, "-m", "tests.support.trivial_service")


MakeStack = Callable[..., Stack]


@pytest.fixture
def trivial(make_stack: MakeStack) -> MakeStack:
    """Makes stacks of services that do nothing."""
    return partial(make_stack, command=TRIVIAL)


def test_a_stack_tells_where_everything_is(trivial: MakeStack) -> None:
    """stack.json holds addresses and process ids while the stack runs, and is gone afterwards."""
    stack = trivial(size=Size(coordinators=2))
    with stack:
        state = json.loads((stack.folder / "stack.json").read_text())
        assert set(state["pids"]) == {"coordinator-1", "coordinator-2", "executor-1", "gateway-1", "stack"}
        assert state["gateway_url"] == stack.services["gateway-1"].url
        assert state["database_url"] == stack.database_url
        assert all(service.running for service in stack.services.values())
    assert not any(service.running for service in stack.services.values())
    assert not (stack.folder / "stack.json").exists()


def test_a_service_that_dies_is_started_again(trivial: MakeStack) -> None:
    """After SIGKILL there is a new process, and stack.json tells its id."""
    with trivial() as stack:
        executor = stack.services["executor-1"]
        old = executor.pid
        stack.kill("executor-1")
        wait_for(lambda: executor.pid != old and executor.ready())
        wait_for(lambda: json.loads((stack.folder / "stack.json").read_text())["pids"]["executor-1"] == executor.pid)


def test_a_service_stays_down_when_asked(trivial: MakeStack) -> None:
    """A test that kills a service for a while decides itself when it comes back, and with which environment."""
    with trivial() as stack:
        executor = stack.services["executor-1"]
        stack.kill("executor-1", stay_down=True)
        assert executor.wait_end() == -signal.SIGKILL
        stack.restart("executor-1", {"GREETING": "hello"})
        assert executor.wait_output('"greeting":"hello"')


def test_services_drain(trivial: MakeStack) -> None:
    """SIGTERM lets a service finish; its exit code is 0, whether it is stopped alone or with the whole stack."""
    with trivial(size=Size(coordinators=2)) as stack:
        assert stack.stop_service("coordinator-1") == 0
        assert any("drained" in line for line in stack.services["coordinator-1"].lines)
    assert {service.exit_code for service in stack.services.values()} == {0}


def test_a_second_stack_in_the_folder_is_refused(trivial: MakeStack) -> None:
    """The sentence names the folder and the process that has it."""
    with trivial() as stack, pytest.raises(StackError, match=rf"{stack.folder}.*process {os.getpid()}"):
        trivial().start()


def test_failpoints_reach_a_service(trivial: MakeStack) -> None:
    """A failpoint that kills says so before, and the exit code is that of the signal."""
    with trivial() as stack:
        stack.stop_service("executor-1")
        stack.start_service("executor-1", {"STEPWIRE_FAILPOINTS": "executor.claimed=kill"})
        executor = stack.services["executor-1"]
        executor.wanted = False
        assert executor.wait_output("failpoint=executor.claimed")
        assert executor.wait_end() == -signal.SIGKILL


def test_failpoints_without_testing_are_refused(trivial: MakeStack) -> None:
    """Nobody sets them off in production by a stray variable: exit code 2."""
    with trivial(restart=False, environment={"STEPWIRE_TESTING": "0"}) as stack:
        stack.stop_service("executor-1")
        stack.start_service("executor-1", {"STEPWIRE_FAILPOINTS": "executor.claimed=kill"})
        assert stack.services["executor-1"].wait_end() == 2
        assert stack.services["executor-1"].wait_output("STEPWIRE_TESTING=1")


def test_a_service_ends_though_a_step_has_left_a_process_behind() -> None:
    """That one holds the output open for as long as it likes."""
    service = Service("executor-1", "executor", {}, port=0, output=lambda _name, _line: None)
    service.command = (sys.executable, "-c", LEAVES_BEHIND)
    service.start()
    left = int(service.wait_output("left ").partition(" ")[2])
    try:
        ending = threading.Thread(target=service.stop, daemon=True)
        ending.start()
        ending.join(WAIT_SECONDS)
        assert not ending.is_alive()
    finally:
        os.kill(left, signal.SIGKILL)
