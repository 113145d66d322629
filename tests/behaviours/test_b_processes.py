"""B. Processes, 15 to 18, 20, 21 and 24: statuses, the log, retries, what every start adds, who gave what."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from stepwire.contracts.commands import process_id_of
from tests.behaviours.doors import HttpDoor, KafkaDoor, Live
from tests.behaviours.driver import Driver, Refused, Seen, handed_out

FINISHED = ("completed", "failed", "api_unavailable", "inconsistent_data")


@pytest.mark.parametrize(
    ("workflow", "kind", "status"),
    [
        ("b15_process", "well", "completed"),
        ("b15_process", "plain", "failed"),
        ("b15_process", "api", "failed"),
        ("b15_process", "data", "failed"),
        ("b15_task", "well", "completed"),
        ("b15_task", "plain", "failed"),
        ("b15_task", "api", "api_unavailable"),
        ("b15_task", "data", "inconsistent_data"),
    ],
)
def test_b15_a_task_fails_by_the_type_of_its_exception(driver: Driver, workflow: str, kind: str, status: str) -> None:
    """A process that is no task is just failed; each can be retried."""
    process_id = driver.start(workflow, {"kind": kind})
    assert driver.wait(process_id, *FINISHED).status == status
    if status != "completed":
        driver.open_gate(process_id)
        driver.resume(process_id)
        assert driver.wait(process_id, "completed").failed_reason is None


def test_b15_a_process_passes_through_its_statuses(kafka: KafkaDoor, live: Live) -> None:
    """Events tell each of them, numbered from 1 without gaps."""
    process_id = kafka.start("b19_awaiting_callback")
    seen = kafka.wait(process_id, "awaiting_callback")
    kafka.post_callback(process_id, handed_out(seen), {"value": 1})
    live.wire.event(str(process_id), lambda event: event["type"] == "stepwire.process.completed")
    events = live.wire.events(str(process_id))
    assert [event["type"].removeprefix("stepwire.process.") for event in events] == [
        *("created", "started", "awaiting_callback", "resumed", "completed"),
    ]
    assert [event["sequence"] for event in events] == [1, 2, 3, 4, 5]
    assert {event["data"]["workflow"] for event in events} == {"b19_awaiting_callback"}


def test_b15_a_refused_start_is_kept_but_not_listed(kafka: KafkaDoor, live: Live) -> None:
    """Its row has the status `rejected` and the reason; a list shows it only when it is asked for."""
    command_id = f"refused-{uuid4()}"
    with pytest.raises(Refused):
        kafka.start("b15_process", {"unknown": 1}, command_id=command_id)
    process_id = process_id_of(command_id)
    seen = kafka.wait(process_id, "rejected")
    assert seen.failed_reason
    assert seen.steps == ()
    for wanted, count in (("", 0), (",status,rejected", 1)):
        listed = live.request("GET", f"/api/processes/?filter=process_id,{process_id}{wanted}").json()
        assert len(listed) == count


def test_b16_each_executed_step_has_a_row(door: HttpDoor | KafkaDoor, live: Live) -> None:
    """Name, status, what it changed, when, which attempt, by which executor and version of the code."""
    process_id = door.start("b15_process", {"kind": "well"})
    seen = door.wait(process_id, "completed")
    assert seen.outcomes == [
        ("Start", "success"),
        ("Say before", "success"),
        ("Go the way", "success"),
        ("Say after", "success"),
        ("Done", "complete"),
    ]
    assert seen.step("Go the way").changed == {"went": "well"}
    rows = live.sql(
        "SELECT seq, attempt, executor IS NOT NULL, code_version IS NOT NULL, started_at <= completed_at "
        "FROM stepwire_engine.process_steps WHERE process_id = %s ORDER BY seq",
        process_id,
    )
    assert rows == [(seq, 1, authors, authors, True) for seq, authors in enumerate([False, True, True, True, False], 1)]


def test_b16_a_failure_is_explained(driver: Driver) -> None:
    """Class, message, details and traceback are kept; the reason is shown until the next success."""
    process_id = driver.start("b15_process", {"kind": "details"})
    seen = driver.wait(process_id, "failed")
    error = seen.steps[-1].error or {}
    assert error["class_name"].endswith("OrderError")
    assert (error["message"], error["details"]) == ("the order is odd", {"order": 4711, "lines": [1, 2]})
    assert "b_processes.py" in error["traceback"]
    assert "raise ERRORS[kind]" in error["traceback"]
    assert "stepwire_executor" not in error["traceback"]
    assert (seen.failed_reason, seen.traceback) == ("the order is odd", error["traceback"])
    driver.open_gate(process_id)
    driver.resume(process_id)
    seen = driver.wait(process_id, "completed")
    assert (seen.failed_reason, seen.traceback) == (None, None)
    assert seen.step("Go the way", attempt=1).status == "failed"
    assert seen.step("Go the way").status == "success"


def repeated(count: int) -> Callable[[Seen], bool]:
    """Whether the last step was repeated so often."""
    return lambda seen: seen.steps[-1].retries == count


def because(reason: str) -> Callable[[Seen], bool]:
    """Whether the process has failed for this reason."""
    return lambda seen: seen.failed_reason == reason


def test_b16_identical_failures_count_up(driver: Driver) -> None:
    """They are one row, however often an operator retries."""
    process_id = driver.start("b15_process", {"kind": "plain"})
    driver.wait(process_id, "failed")
    for count in (1, 2):
        driver.resume(process_id)
        seen = driver.wait(process_id, "failed", until=repeated(count))
        assert [step.status for step in seen.steps] == ["success", "success", "failed"]


def test_b17_a_retry_begins_from_the_last_success(driver: Driver) -> None:
    """Earlier steps are not executed again, nothing of failed attempts is there, and there is no end to retries."""
    process_id = driver.start("b17_endless")
    for attempt in (1, 2, 3):
        driver.wait(process_id, "failed", until=because(f"number {attempt}"))
        driver.resume(process_id)
    seen = driver.wait(process_id, "completed")
    assert driver.told(process_id) == ["worked", "attempt 1", "attempt 2", "attempt 3", "attempt 4"]
    assert seen.state["saw"] == ["worked"]


def test_b17_what_was_undone_does_not_come_back(driver: Driver) -> None:
    """Not even when another group is done again later, whose State is told anew."""
    process_id = driver.start("b17_undone")
    for reason in ("broken", "the first time"):
        driver.wait(process_id, "failed", until=because(reason))
        driver.resume(process_id)
    seen = driver.wait(process_id, "completed")
    assert seen.state["saw"] == []
    assert "leftover" not in seen.state


def test_b17_what_a_skipped_group_has_done_stays(driver: Driver) -> None:
    """Whatever it was retried for, and whatever is done again later."""
    process_id = driver.start("b17_kept")
    driver.wait(process_id, "failed")
    driver.resume(process_id)
    driver.wait(process_id, "failed", until=lambda seen: seen.steps[-1].attempt == 2 or bool(seen.steps[-1].retries))
    driver.skip(process_id, "2", {"by_hand": True}, reason="done on the device")
    driver.wait(process_id, "failed", until=because("the first time"))
    driver.resume(process_id)
    seen = driver.wait(process_id, "completed")
    assert seen.state["saw"] == ["by_hand", "kept"]
    assert seen.state["kept"] is True


@pytest.mark.parametrize("status", ["running", "completed", "aborted"])
def test_b18_what_cannot_be_resumed_is_refused(driver: Driver, status: str) -> None:
    """409, and nothing runs."""
    process_id = driver.start("b19_running")
    driver.wait(process_id, until=lambda _: "at the gate" in driver.told(process_id))
    if status == "completed":
        driver.open_gate(process_id)
    if status == "aborted":
        driver.abort(process_id)
    driver.wait(process_id, status)
    before = driver.told(process_id)
    assert refused_to_resume(driver, process_id) == ("wrong_status", True)
    assert (driver.wait(process_id).status, driver.told(process_id)) == (status, before)
    driver.open_gate(process_id)


def test_b18_a_created_process_cannot_be_resumed(door: HttpDoor | KafkaDoor, kafka: KafkaDoor) -> None:
    """It starts by itself, as soon as somebody serves its queue."""
    process_id = kafka.start_later("b19_created", {"kind": "well"})
    door.wait(process_id, "created")
    assert refused_to_resume(door, process_id) == ("wrong_status", True)
    assert door.wait(process_id).status == "created"
    door.abort(process_id)


def refused_to_resume(driver: Driver, process_id: UUID) -> tuple[str, bool]:
    """The reason of a refusal, and whether it is 409 where there is a status."""
    with pytest.raises(Refused) as refused:
        driver.resume(process_id)
    return refused.value.reason, refused.value.status in (409, None)


def test_b18_of_simultaneous_resumes_one_wins(driver: Driver) -> None:
    """The others are refused, and the step runs once more, not twice."""
    process_id = driver.start("b18_gated")
    driver.wait(process_id, "failed")

    def resume(_: int) -> str:
        try:
            driver.resume(process_id)
        except Refused as refused:
            return refused.reason
        return "accepted"

    with ThreadPoolExecutor(6) as pool:
        answers = sorted(pool.map(resume, range(6)))
    assert answers == ["accepted", *["wrong_status"] * 5]
    driver.open_gate(process_id)
    driver.wait(process_id, "completed")
    assert driver.told(process_id) == ["attempt 1", "attempt 2"]


def test_b20_what_every_start_adds_wins(driver: Driver) -> None:
    """Process, reporter, workflow and target are the engine's to say."""
    process_id = driver.start("b20_forged", {}, reporter="crm")
    state = driver.wait(process_id, "completed").state
    assert state == {
        "process_id": str(process_id),
        "reporter": "crm",
        "workflow_name": "b20_forged",
        "workflow_target": "MODIFY",
        "own": 1,
        "said": ["after"],
    }


def test_b21_each_input_is_recorded(driver: Driver) -> None:
    """Who gave what for which node, at the start and on resume."""
    process_id = driver.start("b21_inputs", {"kind": "well"}, reporter="crm")
    driver.wait(process_id, "suspended")
    driver.resume(process_id, {"answer": "yes"}, user="jane")
    driver.wait(process_id, "completed")
    assert driver.inputs(process_id) == [("0", [{"kind": "well"}], "crm"), ("2", [{"answer": "yes"}], "jane")]


def test_b24_a_start_is_made_once_per_command_id(driver: Driver) -> None:
    """The same command again gets the first answer; another one under its id is refused."""
    command_id = f"once-{uuid4()}"
    first = driver.start("b17_endless", command_id=command_id)
    assert driver.start("b17_endless", command_id=command_id) == first == process_id_of(command_id)
    driver.wait(first, "failed")
    assert driver.told(first) == ["worked", "attempt 1"]


def test_b24_labels_find_processes(door: HttpDoor | KafkaDoor, live: Live) -> None:
    """Labels and priority are kept; a list is filtered by a label."""
    order = str(uuid4())
    process_id = door.start("b19_suspended", labels={"order": order, "kind": "b24"}, priority=7)
    door.wait(process_id, "suspended")
    listed = live.request("GET", f"/api/processes/?filter=label,order:{order}").json()
    assert [(one["process_id"], one["labels"], one["priority"]) for one in listed] == [
        (str(process_id), {"order": order, "kind": "b24"}, 7)
    ]
