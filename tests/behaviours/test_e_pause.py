"""E. Pause and resume-all, 33 and 34."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from stepwire.contracts.commands import process_id_of
from tests.behaviours.doors import HttpDoor, KafkaDoor, Live
from tests.behaviours.driver import Driver, Page, Refused, Seen, handed_out
from tests.support.waiting import wait_for

SITE: Page = {"site": "ams", "ports": 1}


@contextmanager
def paused(driver: Driver) -> Iterator[None]:
    """The engine does nothing within the block."""
    driver.pause()
    try:
        wait_for(lambda: driver.engine() == ("PAUSED", 0), what="the pause")
        yield
    finally:
        driver.unpause()


@contextmanager
def pausing_at_the_gate(driver: Driver, process_id: UUID) -> Iterator[None]:
    """The engine is paused while a step of the process stands at its gate, which is opened then."""
    driver.wait(process_id, until=lambda _: "at the gate" in driver.told(process_id))
    driver.pause()
    try:
        word, runs = driver.engine()
        assert (word, runs > 0) == ("PAUSING", True)
        driver.open_gate(process_id)
        wait_for(lambda: driver.engine() == ("PAUSED", 0), what="the pause")
        yield
    finally:
        driver.open_gate(process_id)
        driver.unpause()


def held_up(seen: Seen) -> bool:
    """Whether the pause is what a process waits for."""
    return (seen.waiting_on or {}).get("kind") == "pause"


def test_e33_the_status_is_shown(driver: Driver) -> None:
    """Running, then paused without a run under way, then running."""
    assert driver.engine()[0] == "RUNNING"
    with paused(driver):
        driver.pause()
        assert driver.engine() == ("PAUSED", 0)
    assert driver.engine()[0] == "RUNNING"


@pytest.mark.parametrize(("workflow", "pages"), [("d31_no_form", []), ("d31_one_page", [SITE])])
def test_e33_nothing_new_starts(driver: Driver, workflow: str, pages: list[Page]) -> None:
    """503 or rejected, with the reason; nothing is left of it, and afterwards it starts."""
    command_id = f"paused-{uuid4()}"
    with paused(driver):
        with pytest.raises(Refused) as refused:
            driver.start(workflow, *pages, command_id=command_id)
        assert (refused.value.reason, refused.value.status in (503, None)) == ("engine_paused", True)
    driver.wait(driver.start(workflow, *pages), "completed")


def test_e33_a_refusal_over_http_says_when_to_come_again(http: HttpDoor, live: Live) -> None:
    """503 has Retry-After, and the same command is accepted afterwards."""
    command_id = f"paused-{uuid4()}"
    with paused(http):
        response = live.request("POST", "/api/processes/d31_no_form", json=[], headers={"Idempotency-Key": command_id})
        assert (response.status_code, int(response.headers["Retry-After"]) > 0) == (503, True)
    assert http.start("d31_no_form", command_id=command_id) == process_id_of(command_id)


@pytest.mark.parametrize(("workflow", "pages"), [("d31_no_form", []), ("d31_one_page", [SITE])])
def test_e33_a_start_that_is_to_be_held_waits(driver: Driver, workflow: str, pages: list[Page]) -> None:
    """It is accepted when the engine goes on."""
    command_id = f"held-{uuid4()}"
    with ThreadPoolExecutor(1) as pool:
        with paused(driver):
            started = pool.submit(driver.start, workflow, *pages, hold=True, command_id=command_id)
            wait_for(lambda: driver.is_held(command_id), what="the start that is held")
        process_id = started.result()
    assert process_id == process_id_of(command_id)
    assert driver.wait(process_id, "completed").state["said"] == ["after"]


def test_e33_a_running_step_finishes_and_nothing_further_runs(driver: Driver) -> None:
    """It is recorded; on unpause the process goes on by itself."""
    process_id = driver.start("b19_running")
    with pausing_at_the_gate(driver, process_id):
        seen = driver.wait(process_id, until=lambda seen: len(seen.steps) == 3 and held_up(seen))
        assert (seen.status, seen.names[-1], seen.state["said"]) == ("running", "Wait at the gate", ["before"])
        assert (seen.state["passed"], seen.pending) == (True, ("Say after", "Done"))
    seen = driver.wait(process_id, "completed")
    assert (seen.state["said"], driver.told(process_id)) == (["before", "after"], ["at the gate"])


def test_e33_the_rest_of_a_group_is_not_skipped(driver: Driver) -> None:
    """Nor is anything of it repeated."""
    process_id = driver.start("e33_group")
    with pausing_at_the_gate(driver, process_id):
        seen = driver.wait(process_id, until=held_up)
        assert (seen.status, seen.state["said"]) == ("running", ["one", "two"])
        # A group that is not through has not succeeded.
        assert (seen.names, seen.pending) == (["Start"], ("Outer", "Say after", "Done"))
    seen = driver.wait(process_id, "completed")
    assert (seen.state["said"], driver.told(process_id)) == (["one", "two", "three", "four", "after"], ["at the gate"])


def test_e33_what_a_running_step_starts_begins_afterwards(driver: Driver) -> None:
    """The step ends during the pause, and nobody would start the other process again."""
    process_id = driver.start("e33_starting")
    with pausing_at_the_gate(driver, process_id):
        seen = driver.wait(process_id, "completed")
    assert driver.wait(UUID(seen.state["started"]), "completed").state["said"] == [str(number) for number in range(12)]


def test_e33_many_processes_go_on_where_they_were(driver: Driver) -> None:
    """Paused and unpaused over and over while they run, none of them loses or repeats a step."""
    processes = [driver.start("e33_many") for _ in range(12)]
    for _ in range(3):
        driver.pause()
        driver.unpause()
    with paused(driver):
        pass
    for process_id in processes:
        assert driver.wait(process_id, "completed").state["said"] == [str(number) for number in range(12)]


def test_e33_a_retry_that_is_due_waits(driver: Driver) -> None:
    """Its time comes during the pause, its attempt afterwards."""
    process_id = driver.start("e33_retried")
    driver.wait(process_id, "waiting")
    with paused(driver):
        before = driver.told(process_id)
        driver.wait(process_id, "running", until=held_up)
        assert driver.told(process_id) == before
        driver.open_gate(process_id)
    assert driver.wait(process_id, "completed").state["said"] == ["after"]


def test_e33_a_callback_is_taken_and_waits(driver: Driver) -> None:
    """It is accepted during the pause and used afterwards, in the middle of a group."""
    process_id = driver.start("e33_callback")
    route = handed_out(driver.wait(process_id, "awaiting_callback"))
    with paused(driver):
        driver.post_callback(process_id, route, {"n": 1})
        seen = driver.wait(process_id, "running", until=held_up)
        assert "taken" not in seen.state
    state = driver.wait(process_id, "completed").state
    assert (state["taken"], state["said"]) == ({"n": 1}, ["two", "after"])


def test_e33_input_waits(driver: Driver) -> None:
    """It is checked when the engine goes on; until then the process waits as before, in the middle of a group."""
    process_id = driver.start("e33_input")
    driver.wait(process_id, "suspended")
    with ThreadPoolExecutor(1) as pool:
        with paused(driver):
            given = pool.submit(driver.resume, process_id, {"answer": "yes"})
            assert "answer" not in driver.wait(process_id, "suspended", until=held_up).state
        given.result()
    state = driver.wait(process_id, "completed").state
    assert (state["answer"], state["said"]) == ("yes", ["two", "after"])


def test_e33_what_waits_can_be_aborted(driver: Driver) -> None:
    """A pause stands in nobody's way who wants to end a process."""
    process_id = driver.start("b19_running")
    with pausing_at_the_gate(driver, process_id):
        driver.wait(process_id, until=held_up)
        driver.abort(process_id)
        driver.wait(process_id, "aborted")
    assert driver.wait(process_id, "aborted").state["said"] == ["before"]


def failed_tasks(driver: Driver) -> dict[str, UUID]:
    """One task of each kind that can be resumed, and a process that is none."""
    started: dict[str, UUID] = {
        "failed": driver.start("b15_task", {"kind": "plain"}),
        "inconsistent_data": driver.start("b15_task", {"kind": "data"}),
        "api_unavailable": driver.start("e34_task"),
        "waiting": driver.start("e34_waiting_task"),
    }
    for status, process_id in started.items():
        driver.wait(process_id, status)
    return started


def test_e34_all_tasks_are_resumed(driver: Driver) -> None:
    """Whatever they wait for; one that fails again stops no other, and a process that is no task stays as it is."""
    tasks = failed_tasks(driver)
    bad, other = driver.start("e34_task"), driver.start("e34_process")
    for process_id, status in ((bad, "api_unavailable"), (other, "failed")):
        driver.wait(process_id, status)
    for process_id in (*tasks.values(), other):
        driver.open_gate(process_id)
    accepted(driver.resume_all)
    for process_id in tasks.values():
        driver.wait(process_id, "completed")
    assert driver.wait(bad, "api_unavailable", until=_repeated).steps[-1].retries == 1
    assert (driver.wait(other).status, driver.told(other)) == ("failed", ["tried"])
    for process_id in (bad, other):
        driver.abort(process_id)


def _repeated(seen: Seen) -> bool:
    return seen.steps[-1].retries > 0


def test_e34_http_says_how_many(http: HttpDoor, live: Live) -> None:
    """Those that are resumed."""
    process_id = http.start("e34_task")
    http.wait(process_id, "api_unavailable")
    http.open_gate(process_id)
    answers: list[httpx.Response] = []

    def resumed() -> bool:
        # Others' tasks may still be on their way from a call before.
        headers = {"Idempotency-Key": f"resume-all-{uuid4()}"}
        answers[:] = [live.request("PUT", "/api/processes/resume-all", headers=headers) for _ in range(2)]
        return answers[0].status_code != httpx.codes.CONFLICT

    before = resumes(live)
    wait_for(resumed, what="the call")
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.json() for answer in answers] == [{"count": resumes(live) - before}] * 2
    http.wait(process_id, "completed")


def resumes(live: Live) -> int:
    """How many tasks were ever to be resumed with all others."""
    written: int = live.sql("SELECT count(*) FROM stepwire_engine.commands WHERE command_id LIKE 'resume-all:%%'")[0][0]
    return written


def test_e34_a_second_call_is_refused_while_one_runs(door: HttpDoor | KafkaDoor, live: Live) -> None:
    """Somebody holds a task's row, so that the first cannot end; when it has ended, another is accepted."""
    process_id = door.start("e34_task")
    door.wait(process_id, "api_unavailable")
    door.open_gate(process_id)
    hold = "SELECT FROM stepwire_engine.processes WHERE process_id = %s FOR UPDATE"
    with psycopg.connect(live.settings.database_url) as connection:
        connection.execute(hold, (process_id,))
        accepted(door.resume_all)
        with pytest.raises(Refused) as refused:
            door.resume_all()
        assert (refused.value.reason, refused.value.status in (409, None)) == ("wrong_status", True)
    door.wait(process_id, "completed")
    accepted(door.resume_all)


def accepted(call: Callable[[], None]) -> None:
    """Try until it is no longer refused: the first call may have others to resume yet."""

    def is_accepted() -> bool:
        try:
            call()
        except Refused:
            return False
        return True

    wait_for(is_accepted, what="another call")
