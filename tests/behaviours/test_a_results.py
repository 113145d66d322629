"""A. Steps and step lists, 6 to 9 and 11: results, failures, retries, input, groups."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.behaviours.doors import HttpDoor, KafkaDoor
from tests.behaviours.driver import Driver, Refused, handed_out

REASONS = {
    "nan": ["['deep']['list'][1]['bad']", "nan"],
    "nul": ["['deep']['a']['b']['bad']", "NUL"],
    "keys": ["['deep']['inner'][1]", "keys must be text"],
    "lambda": ["['deep']['call']", "function"],
    "text": ["returned a str"],
}
GIVEN = {"name": "Ada", "contact": {"mail": "ada@example.org"}, "tags": ["c"]}


def test_a06_results_are_merged_shallowly(driver: Driver) -> None:
    """A key is replaced as a whole; None changes nothing; the next step sees what JSON makes of the values."""
    seen = driver.wait(driver.start("a06_merged"), "completed")
    assert (seen.state["a"], seen.state["b"]) == ({"y": 2}, 1)
    assert seen.state["seen"] == {"identity": "str", "moment": "str", "members": "list", "pair": "list"}
    assert seen.state["members"] == [1, 2, 3]
    assert seen.step("Return nothing").changed == {}


@pytest.mark.parametrize("kind", sorted(REASONS))
def test_a06_a_value_that_cannot_be_dumped_fails_the_step(driver: Driver, kind: str) -> None:
    """The reason names the key; the process is neither lost nor stuck, and nothing of the result is kept."""
    process_id = driver.start("a06_unstorable", {"kind": kind})
    seen = driver.wait(process_id, "failed")
    assert seen.outcomes[-1] == ("Return it", "failed")
    assert all(word in (seen.failed_reason or "") for word in REASONS[kind])
    assert set(seen.state) == {"kind", "process_id", "reporter", "workflow_name", "workflow_target"}


def test_a06_a_result_that_is_too_large_fails_the_step(door: HttpDoor | KafkaDoor) -> None:
    """The reason names the largest key."""
    seen = door.wait(door.start("a06_unstorable", {"kind": "large"}), "failed")
    assert "'big'" in (seen.failed_reason or "")
    assert "small" not in seen.state


def test_a07_nothing_remains_of_a_failed_attempt(driver: Driver) -> None:
    """The next attempt begins with what the failed one was given."""
    process_id = driver.start("a07_failed")
    assert driver.wait(process_id, "failed").state["box"] == {"n": 1}
    driver.resume(process_id)
    state = driver.wait(process_id, "completed").state
    assert (state["box"], state["box_seen"], state["spoiled_seen"]) == ({"n": 1}, {"n": 1}, False)


def test_a08_a_retrystep_is_retried_by_itself(driver: Driver) -> None:
    """Each attempt is visible; the process goes on with the first that succeeds."""
    process_id = driver.start("a08_retried")
    seen = driver.wait(process_id, "completed")
    assert driver.told(process_id) == ["attempt 1", "attempt 2", "attempt 3"]
    attempts = [(one.status, one.attempt) for one in seen.steps if one.name == "Fail twice"]
    assert attempts == [("waiting", 1), ("waiting", 2), ("success", 3)]
    assert (seen.state["attempts"], seen.failed_reason) == (3, None)


def test_a08_a_policy_limits_the_attempts(driver: Driver) -> None:
    """A plain step may have one too; two retries are three attempts."""
    process_id = driver.start("a08_limited")
    seen = driver.wait(process_id, "failed")
    assert driver.told(process_id) == ["attempt 1", "attempt 2", "attempt 3"]
    assert (seen.steps[-1].status, seen.steps[-1].attempt, seen.failed_reason) == ("failed", 3, "attempt 3")


def test_a08_the_default_policy_waits_for_a_minute(driver: Driver) -> None:
    """When the next attempt is due can be seen, and it can be had now."""
    process_id = driver.start("a08_default")
    seen = driver.wait(process_id, "waiting")
    waiting: dict[str, Any] = seen.waiting_on or {}
    due = datetime.fromisoformat(waiting["until"])
    assert waiting["kind"] == "retry"
    assert 30 < (due - datetime.now(UTC)).total_seconds() < 73
    driver.resume(process_id)
    assert driver.wait(process_id, "completed").state["attempts"] == 2


def test_a08_a_policy_names_exceptions(driver: Driver) -> None:
    """Another one fails the step at once."""
    seen = driver.wait(driver.start("a08_chosen"), "failed", "waiting")
    assert (seen.status, seen.steps[-1].attempt) == ("failed", 1)


def test_a09_an_input_step_waits_for_valid_input(driver: Driver) -> None:
    """The assignee and the schema are shown; input is merged deeply, lists are replaced, and who gave it is kept."""
    process_id = driver.start("a09_input")
    seen = driver.wait(process_id, "suspended")
    assert (seen.assignee, seen.outcomes[-1], seen.pending) == (
        "CHANGES",
        ("Confirm the person", "suspend"),
        ("Say after", "Done"),
    )
    schema: dict[str, Any] = seen.form or {}
    assert set(schema["properties"]) == {"name", "contact", "tags", "known"}
    assert schema["properties"]["known"]["default"] == "Ada"
    driver.resume(process_id, GIVEN, user="jane")
    seen = driver.wait(process_id, "completed")
    assert seen.state["person"] == {
        "name": "Ada",
        "contact": {"phone": "1", "mail": "ada@example.org"},
        "tags": ["c"],
    }
    confirmed = seen.step("Confirm the person")
    assert (confirmed.status, confirmed.created_by, seen.form, seen.assignee) == ("success", "jane", None, None)


def test_a09_invalid_input_changes_nothing(driver: Driver) -> None:
    """The sender is told what is wrong, and the process waits on."""
    process_id = driver.start("a09_input")
    before = driver.wait(process_id, "suspended")
    with pytest.raises(Refused) as refused:
        driver.resume(process_id, {**GIVEN, "tags": "none"})
    assert refused.value.reason == "invalid_input"
    assert [error["loc"] for error in refused.value.errors] == [["tags"]]
    after = driver.wait(process_id, "suspended")
    assert (after.state, after.outcomes) == (before.state, before.outcomes)
    driver.resume(process_id, GIVEN)
    driver.wait(process_id, "completed")


def test_a11_a_group_is_one_visible_step(driver: Driver) -> None:
    """Its sub-steps are beneath it, and those of the same name are told apart."""
    seen = driver.wait(driver.start("a11_group"), "completed", "failed")
    assert seen.outcomes == [
        ("Start", "success"),
        ("All of it", "success"),
        ("Say after", "success"),
        ("Done", "complete"),
    ]
    assert [(one.node, one.name, one.status) for one in seen.step("All of it").sub_steps] == [
        ("2.1", "Say one", "success"),
        ("2.2", "Say one", "success"),
        ("2.3", "Say two", "success"),
    ]
    assert seen.state["said"] == ["one", "one", "two", "after"]


def test_a11_a_group_under_a_false_condition_is_skipped(driver: Driver) -> None:
    """As a whole, and what follows it runs."""
    seen = driver.wait(driver.start("a11_skipped"), "completed", "failed")
    assert (seen.outcomes[2], seen.state["said"]) == (("None of it", "skipped"), ["after"])


def test_a11_a_group_goes_on_after_input(driver: Driver) -> None:
    """It is suspended as a whole, and what was done is not repeated."""
    process_id = driver.start("a11_input")
    seen = driver.wait(process_id, "suspended", "failed")
    assert seen.outcomes[-1] == ("Ask in the middle", "suspend")
    driver.resume(process_id, GIVEN)
    seen = driver.wait(process_id, "completed", "failed")
    assert (seen.status, seen.state["said"]) == ("completed", ["one", "two", "after"])


def test_a11_a_group_goes_on_after_a_callback(driver: Driver) -> None:
    """It awaits the callback as a whole, and what was done is not repeated."""
    process_id = driver.start("a11_callback")
    seen = driver.wait(process_id, "awaiting_callback", "failed")
    assert seen.outcomes[-1] == ("Call in the middle", "awaiting_callback")
    driver.post_callback(process_id, handed_out(seen), {"value": 7})
    seen = driver.wait(process_id, "completed", "failed")
    assert (seen.status, seen.state["said"], seen.state["checked"]) == ("completed", ["one", "two", "after"], 7)


@pytest.mark.parametrize(
    ("workflow", "told"), [("a11_from_first", ["work", "try"] * 2), ("a11_from_failed", ["work", "try", "try"])]
)
def test_a11_a_failure_retries_the_group(driver: Driver, workflow: str, told: list[str]) -> None:
    """From its first sub-step, unless it is to begin with the failed one."""
    process_id = driver.start(workflow)
    assert driver.wait(process_id, "failed").outcomes[-1] == ("Both", "failed")
    driver.open_gate(process_id)
    driver.resume(process_id)
    seen = driver.wait(process_id, "completed", "failed", until=lambda seen: seen.steps[-1].name != "Both")
    assert (seen.status, driver.told(process_id)) == ("completed", told)


def test_a11_a_group_is_retried_by_its_policy(driver: Driver) -> None:
    """By itself, from its first sub-step."""
    process_id = driver.start("a11_policy")
    seen = driver.wait(process_id, "completed", "failed")
    assert (seen.status, driver.told(process_id)) == ("completed", ["work", "try 1", "work", "try 2"])
    assert [(one.status, one.attempt) for one in seen.steps if one.name == "Both"] == [("waiting", 1), ("success", 2)]
