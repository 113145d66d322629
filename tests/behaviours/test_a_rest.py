"""A and B once more: long retries, authorisation under conditions, groups in groups, bounds of what is kept."""

from __future__ import annotations

import inspect
from datetime import datetime

import pytest

from stepwire import step
from tests.behaviours.driver import Driver, Refused, handed_out
from tests.behaviours.memory import MemoryDriver
from tests.behaviours.workflows.tools import say


def test_a03_the_line_of_a_step_stays_reachable() -> None:
    """And a call of the step is a call of its function."""

    @step("Say where it is")
    def somewhere() -> None:
        """Be here."""

    lines, first = inspect.getsourcelines(inspect.unwrap(somewhere))
    assert (inspect.getsourcefile(inspect.unwrap(somewhere)), "def somewhere" in "".join(lines)) == (__file__, True)
    assert first > 1
    assert say("x").name == "Say x"


def test_a08_without_limit_doubling_to_an_hour(memory: MemoryDriver) -> None:
    """Nobody can wait that long elsewhere: the delays of twelve attempts, each within its jitter."""
    process_id = memory.start("a08_endless")
    delays = []
    for attempt in range(1, 13):
        reason = f"attempt {attempt}"
        seen = memory.wait(process_id, "waiting", until=lambda seen, reason=reason: seen.failed_reason == reason)  # type: ignore[misc] # bound at once
        until = datetime.fromisoformat((seen.waiting_on or {})["until"])
        delays.append((until - memory.now).total_seconds())
        assert memory.skip_time()
    expected = [min(60.0 * 2**n, 3600.0) for n in range(12)]
    assert all(0.79 * base <= delay <= 1.21 * base for delay, base in zip(delays, expected, strict=True)), delays
    # By jitter they are not those of everybody else who failed at the same time.
    assert all(abs(delay - base) > 1e-6 for delay, base in zip(delays[:5], expected[:5], strict=True)), delays


def test_a10_authorisation_of_a_wrapped_step_is_kept(driver: Driver) -> None:
    """The input step still asks who answers."""
    process_id = driver.start("a10_authorized")
    driver.wait(process_id, "suspended")
    with pytest.raises(Refused) as refused:
        driver.resume(process_id, {}, user="joe")
    assert (refused.value.reason, refused.value.status in (403, None)) == ("not_allowed", True)
    driver.resume(process_id, {}, user="jane")
    assert driver.wait(process_id, "completed").state["said"] == ["after"]


def test_a11_groups_in_groups(driver: Driver) -> None:
    """The outermost is the visible step, everything beneath it has its path."""
    seen = driver.wait(driver.start("a11_nested"), "completed", "failed")
    assert (seen.names, seen.state["said"]) == (
        ["Start", "Outer", "Say after", "Done"],
        ["one", "two", "three", "four", "five", "after"],
    )
    paths = ["2.1.1", "2.1.2.1", "2.1.2.2", "2.1.3", "2.2"]
    assert [one.node for one in seen.step("Outer").sub_steps] == paths


def test_a11_conditions_within_a_group(driver: Driver) -> None:
    """It is skipped when nothing of it was done, not when its last sub-step was skipped."""
    seen = driver.wait(driver.start("a11_conditions"), "completed", "failed", "suspended")
    assert seen.outcomes[1:4] == [("Partly", "success"), ("Nothing", "skipped"), ("Waits not", "success")]
    assert [one.status for one in seen.step("Partly").sub_steps] == ["success", "skipped"]
    assert seen.state["said"] == ["one", "two", "after"]


@pytest.mark.parametrize(("workflow", "asked"), [("a11_asks_again", "suspended"), ("a11_asks_once", "completed")])
def test_a11_a_failure_behind_an_input(driver: Driver, workflow: str, asked: str) -> None:
    """A retry asks again, unless the group goes on with what failed."""
    process_id = driver.start(workflow)
    driver.wait(process_id, "suspended")
    driver.resume(process_id, {"answer": "one"})
    driver.wait(process_id, "failed")
    driver.open_gate(process_id)
    driver.resume(process_id)
    seen = driver.wait(process_id, asked)
    if asked == "suspended":
        assert "answer" not in seen.state
        driver.resume(process_id, {"answer": "two"})
        seen = driver.wait(process_id, "completed")
    assert seen.state["answer"] == ("two" if asked == "suspended" else "one")
    assert driver.told(process_id) == ["tried", "tried"]


def test_b16_what_is_kept_of_a_failure_is_bounded(driver: Driver) -> None:
    """Message and traceback, cut in the middle; both ends of the traceback are there."""
    seen = driver.wait(driver.start("b16_long"), "failed")
    error = seen.steps[-1].error or {}
    assert 5_000 < len(error["message"]) <= 10_000
    assert 10_000 < len(error["traceback"]) <= 50_000
    assert "characters left out" in error["message"]
    assert "in fail_at_length" in error["traceback"][:1000]
    assert seen.failed_reason == error["message"]


def test_b16_failures_that_differ_have_rows_of_their_own(driver: Driver) -> None:
    """Only consecutive identical ones are one."""
    process_id = driver.start("b16_turns")
    for attempt in range(2, 6):
        driver.wait(process_id, "failed", until=lambda seen, n=attempt - 1: _tries(seen.steps) == n)  # type: ignore[misc] # bound at once
        driver.resume(process_id)
    seen = driver.wait(process_id, "failed", until=lambda seen: _tries(seen.steps) == 5)
    failures = [(one.error["message"], one.retries) for one in seen.steps if one.status == "failed" and one.error]
    assert failures == [("number 0", 0), ("number 1", 1), ("number 2", 1)]


def _tries(steps: tuple[object, ...]) -> int:
    return sum(1 + getattr(one, "retries", 0) for one in steps if getattr(one, "status", "") == "failed")


def test_c25_what_a_failed_group_awaited_is_awaited_anew(driver: Driver) -> None:
    """The route is another one, and the old one leads nowhere."""
    process_id = driver.start("a11_callback")
    old = handed_out(driver.wait(process_id, "awaiting_callback"))
    driver.post_callback(process_id, old, {"no value": 0})
    driver.wait(process_id, "failed")
    driver.resume(process_id)
    new = handed_out(driver.wait(process_id, "awaiting_callback"))
    assert new != old
    driver.post_callback(process_id, new, {"value": 8})
    assert driver.wait(process_id, "completed").state["checked"] == 8
