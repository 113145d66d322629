"""Locks of subscriptions and of what authors name: refused, or in line by priority and age."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from tests.behaviours.driver import Driver, Page, Seen
from tests.support.waiting import wait_for

WORKFLOWS = ["lock_queued", "lock_in_group", "lock_workflow"]


def pools(*names: str) -> Page:
    """Pools that no other test uses."""
    mark = uuid4().hex[:8]
    return {key: f"{name}-{mark}" for key, name in zip(("first", "second"), names, strict=False)}


def at_gate(driver: Driver, workflow: str, page: Page) -> UUID:
    """A process that holds its lock and stands at the gate."""
    process_id = driver.start(workflow, page)
    driver.wait(process_id, until=lambda _: "at the gate" in driver.told(process_id))
    return process_id


def in_line_behind(holder: UUID) -> Callable[[Seen], bool]:
    """Whether a process waits for a lock that `holder` has."""

    def waits(seen: Seen) -> bool:
        waiting = seen.waiting_on or {}
        return waiting.get("kind") == "lock" and str(holder) in waiting["detail"]

    return waits


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_named_lock_lets_one_through_at_a_time(driver: Driver, workflow: str) -> None:
    """The other waits in line and says for whom; another name is another lock."""
    page = pools("ams")
    first = at_gate(driver, workflow, page)
    second = driver.start(workflow, page)
    driver.wait(second, until=in_line_behind(first))
    elsewhere = at_gate(driver, workflow, pools("utr"))
    assert driver.told(second) == []
    for process_id in (second, first, elsewhere):
        driver.open_gate(process_id)
        if process_id == second:
            assert driver.wait(second).status != "completed"
    for process_id in (first, second, elsewhere):
        driver.wait(process_id, "completed")


def test_a_named_lock_may_be_refused_instead(driver: Driver) -> None:
    """The process fails with who has it, and a retry tries again."""
    page = pools("ams")
    first = at_gate(driver, "lock_rejected", page)
    second = driver.start("lock_rejected", page)
    assert str(first) in (driver.wait(second, "failed").failed_reason or "")
    driver.open_gate(first)
    driver.open_gate(second)
    driver.wait(first, "completed")
    driver.resume(second)
    assert driver.wait(second, "completed").state["said"] == ["in", "after"]


def test_a_failed_process_keeps_its_lock_and_an_aborted_one_frees_it(driver: Driver) -> None:
    """Whoever is next in line goes on by itself."""
    page = pools("ams")
    first = driver.start("lock_failing", page)
    driver.wait(first, "failed")
    second = driver.start("lock_failing", page)
    driver.open_gate(second)
    driver.wait(second, until=in_line_behind(first))
    driver.abort(first)
    assert driver.wait(second, "completed").state["said"] == ["after"]


def test_who_leaves_the_line_holds_nobody_up(driver: Driver) -> None:
    """An aborted one in line is passed over."""
    page = pools("ams")
    first = at_gate(driver, "lock_queued", page)
    second, third = driver.start("lock_queued", page), driver.start("lock_queued", page)
    for process_id in (second, third):
        driver.wait(process_id, until=in_line_behind(first))
        driver.open_gate(process_id)
    driver.abort(second)
    driver.open_gate(first)
    driver.wait(third, "completed")
    assert driver.wait(second, "aborted").state["said"] == ["before"]


def test_a_circle_is_refused_and_named(driver: Driver) -> None:
    """Who would close it fails; the other goes on when it is aborted."""
    page = pools("ams", "utr")
    first = at_gate(driver, "lock_two", page)
    second = at_gate(driver, "lock_two", {"first": page["second"], "second": page["first"]})
    driver.open_gate(first)
    driver.wait(first, until=in_line_behind(second))
    driver.open_gate(second)
    reason = driver.wait(second, "failed").failed_reason or ""
    assert all(word in reason for word in (str(first), page["first"]))
    driver.abort(second)
    assert driver.wait(first, "completed").state["said"] == ["both", "after"]


def started(driver: Driver, subscription_id: UUID, **options: object) -> UUID:
    """A start for a subscription."""
    return driver.start("b19_locked", {"subscription_id": str(subscription_id)}, **options)


def test_starts_stand_in_line_for_a_subscription(driver: Driver) -> None:
    """Accepted at once, begun by priority, then by age, each alone."""
    subscription_id = driver.subscription()
    holder = started(driver, subscription_id)
    driver.wait(holder, until=lambda _: "at the gate" in driver.told(holder))
    line = [started(driver, subscription_id, on_conflict="queue", priority=priority) for priority in (0, 0, 5)]
    for process_id in line:
        assert driver.wait(process_id, until=in_line_behind(holder)).status == "created"
    for process_id in (line[2], line[0], line[1]):
        driver.open_gate(holder)
        driver.wait(holder, "completed")
        driver.wait(process_id, until=lambda _, process_id=process_id: "at the gate" in driver.told(process_id))  # type: ignore[misc] # bound at once
        assert driver.owner(subscription_id) == (False, process_id)
        holder = process_id
    driver.open_gate(holder)
    driver.wait(holder, "completed")
    wait_for(lambda: driver.owner(subscription_id) == (True, None))


def test_a_start_in_line_can_be_aborted(driver: Driver) -> None:
    """It never begins; the lock goes to the next."""
    subscription_id = driver.subscription()
    holder = started(driver, subscription_id)
    driver.wait(holder, until=lambda _: "at the gate" in driver.told(holder))
    gone, left = (started(driver, subscription_id, on_conflict="queue") for _ in range(2))
    for process_id in (gone, left):
        driver.wait(process_id, until=in_line_behind(holder))
    driver.abort(gone)
    for process_id in (holder, left):
        driver.open_gate(process_id)
        driver.wait(process_id, "completed")
    assert driver.wait(gone).status in ("aborted", "rejected")
    assert driver.told(gone) == []
