"""A, B and C once more: what a retry begins with, lenses around callbacks, time limits of groups, verdicts."""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest

from tests.behaviours.doors import HttpDoor, KafkaDoor
from tests.behaviours.driver import Driver, Refused, handed_out


def route_in(part: dict[str, Any]) -> str:
    """The route that an action handed out within a part of State."""
    text: str = part["handed_out"]
    return text[::-1]


@pytest.mark.parametrize(
    ("workflow", "told"), [("b17_group", ["nothing", "nothing"]), ("b17_group_from_failed", ["said"])]
)
def test_b17_a_group_begins_with_state_as_it_was(driver: Driver, workflow: str, told: list[str]) -> None:
    """Nothing of the failed attempt is there, unless what succeeded is to stay."""
    process_id = driver.start(workflow)
    failed = driver.wait(process_id, "failed")
    assert failed.state["said"] == ["here"]
    driver.open_gate(process_id)
    driver.resume(process_id)
    seen = driver.wait(process_id, "completed")
    assert (driver.told(process_id), seen.state["said"]) == (told, ["here"])
    assert seen.state["seen"] == len(told)


def test_b17_a_callback_step_begins_with_state_as_it_was(driver: Driver) -> None:
    """Neither the action of the failed attempt nor its answer is there, and a new answer is taken."""
    process_id = driver.start("b17_callback")
    seen = driver.wait(process_id, "awaiting_callback")
    driver.post_callback(process_id, handed_out(seen), {"number": 1})
    failed = driver.wait(process_id, "failed")
    assert failed.state["answer"] == {"number": 1}
    driver.open_gate(process_id)
    driver.resume(process_id)
    again = driver.wait(process_id, "awaiting_callback")
    assert "answer" not in again.state
    driver.post_callback(process_id, handed_out(again), {"number": 2})
    seen = driver.wait(process_id, "completed")
    assert (driver.told(process_id), seen.state["answer"]) == (["nothing", "nothing"], {"number": 2})


def test_b17_the_form_of_a_new_attempt_sees_state_as_it_was(http: HttpDoor) -> None:
    """When it is shown, and when it is asked about an answer."""
    process_id = http.start("b17_input")
    http.wait(process_id, "suspended")
    http.resume(process_id, {"sure": True})
    assert {"said", "confirmed"} <= set(http.wait(process_id, "failed").state)
    http.open_gate(process_id)
    http.resume(process_id)
    seen = http.wait(process_id, "suspended")
    assert (seen.form or {})["properties"]["known"]["default"] == ["before"]
    with pytest.raises(Refused) as refused:
        http.resume(process_id)
    form: dict[str, Any] = refused.value.form or {}
    assert form["properties"]["known"]["default"] == ["before"]
    http.resume(process_id, {"sure": False})
    seen = http.wait(process_id, "completed")
    assert (seen.state["said"], seen.state["confirmed"]) == (["here"], False)


@pytest.mark.parametrize("workflow", ["b18_guarded", "b18_guarded_workflow"])
def test_b18_who_may_retry_is_asked(driver: Driver, workflow: str) -> None:
    """Whoever may not is refused, and nothing has changed; whoever may is not."""
    process_id = driver.start(workflow, reporter="jane")
    failed = driver.wait(process_id, "failed")
    driver.open_gate(process_id)
    with pytest.raises(Refused) as refused:
        driver.resume(process_id, user="mallory")
    assert (refused.value.reason, refused.value.status) in (("not_allowed", 403), ("not_allowed", None))
    assert "mallory" in refused.value.detail
    seen = driver.wait(process_id, "failed")
    assert (seen.outcomes, seen.failed_reason) == (failed.outcomes, failed.failed_reason)
    driver.resume(process_id, user="jane")
    seen = driver.wait(process_id, "completed")
    assert (seen.state["passed"], [step.attempt for step in seen.steps if step.status == "success"][-1]) == (True, 2)


def test_a12_a_payload_lands_behind_the_lens(driver: Driver) -> None:
    """The validation sees it there, and the key of the same name outside stays as it was."""
    process_id = driver.start("a12_callback")
    seen = driver.wait(process_id, "awaiting_callback")
    driver.post_callback(process_id, route_in(seen.state["part"]), {"serial": "X1"})
    seen = driver.wait(process_id, "completed", "failed")
    assert (seen.status, seen.state["answer"]) == ("completed", "not this one")
    part = seen.state["part"]
    assert (part["answer"], part["serial"]) == ({"serial": "X1"}, "X1")
    assert part["sees"] == ["answer", "given", "handed_out"]


def test_a12_a_payload_that_nobody_checks_lands_there_too(driver: Driver) -> None:
    """A false condition skips the validation, not the answer."""
    process_id = driver.start("a12_callback_unchecked")
    seen = driver.wait(process_id, "awaiting_callback")
    driver.post_callback(process_id, route_in(seen.state["part"]), {"serial": "X1"})
    seen = driver.wait(process_id, "completed", "failed")
    assert (seen.status, seen.state["part"]["answer"]) == ("completed", {"serial": "X1"})


def test_a11_a_group_has_a_time_limit(door: HttpDoor | KafkaDoor) -> None:
    """Its sub-steps share it; a retry has all of it again."""
    process_id = door.start("a11_limited")
    seen = door.wait(process_id, "failed")
    assert "group 'In time' did not end within 0.5 s" in (seen.failed_reason or "")
    door.open_gate(process_id)
    door.resume(process_id)
    seen = door.wait(process_id, "completed")
    assert (door.told(process_id), seen.state["said"]) == (["while", "while"], ["never"])


def test_c29_progress_gives_more_time(door: HttpDoor | KafkaDoor) -> None:
    """The deadline that is shown moves with each news."""
    process_id = door.start("c29_extended")
    seen = door.wait(process_id, "awaiting_callback")
    before = (seen.waiting_on or {})["until"]
    door.post_progress(process_id, handed_out(seen), "half")
    seen = door.wait(process_id, "awaiting_callback", until=lambda seen: seen.progress == "half")
    assert (seen.waiting_on or {})["until"] > before
    door.post_callback(process_id, handed_out(seen), {"value": 1})
    assert door.wait(process_id, "completed").state["said"] == ["answered"]


def test_a08_an_exception_says_when(driver: Driver) -> None:
    """Of a plain step as of one with a policy."""
    process_id = driver.start("a08_later")
    seen = driver.wait(process_id, "completed", "failed")
    assert (seen.status, seen.state["attempts"]) == ("completed", 2)
    assert [step.attempt for step in seen.steps if step.status == "waiting"] == [1, 1]


def test_a_step_may_run_on_another_queue(driver: Driver) -> None:
    """The run stops there and goes on there, with State as it is, and comes back."""
    seen = driver.wait(driver.start("a_queues"), "completed", "failed")
    assert (seen.status, seen.state["computed"], seen.state["said"]) == ("completed", ["given"], ["here", "back"])
    assert [sub.name for sub in seen.step("Both").sub_steps] == ["Say here", "Compute", "Say back"]


def test_a_running_step_tells_of_its_progress(door: HttpDoor | KafkaDoor) -> None:
    """The last word is shown while it runs, and is gone afterwards; it knows who and which it is."""
    process_id = door.start("a_progress", reporter="crm")
    door.wait(process_id, "running", until=lambda seen: seen.progress == "50 %")
    door.open_gate(process_id)
    seen = door.wait(process_id, "completed")
    assert (seen.progress, seen.state["who"]) == (None, [str(process_id), "crm", "1"])
    assert seen.state["key"] == str(uuid5(NAMESPACE_URL, f"stepwire:{process_id}:2"))


def test_a08_an_exception_gives_up(driver: Driver) -> None:
    """Whatever the policy says."""
    seen = driver.wait(driver.start("a08_given_up"), "failed")
    assert (seen.failed_reason, seen.steps[-1].attempt) == ("the order was cancelled", 1)
