"""Many at once: callbacks, resumes, aborts; exactly one of them counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.behaviours.doors import HttpDoor, KafkaDoor, Live
from tests.behaviours.driver import Driver, Refused, handed_out

TEN = range(10)


def at_once(calls: list[Callable[[], Any]]) -> list[str]:
    """What is answered to calls that are made at the same time."""

    def answer(call: Callable[[], Any]) -> str:
        try:
            call()
        except Refused as refused:
            return refused.reason
        return "accepted"

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(answer, calls))


def test_ten_identical_callbacks_at_once(driver: Driver) -> None:
    """All are accepted, one counts."""
    process_id = driver.start("c29_many")
    route = handed_out(driver.wait(process_id, "awaiting_callback"))
    answers = at_once([lambda: driver.post_callback(process_id, route, {"n": 1})] * 10)
    seen = driver.wait(process_id, "completed")
    assert answers == ["accepted"] * 10
    assert (driver.told(process_id), seen.state["taken"], seen.state["said"]) == (["validated"], {"n": 1}, ["after"])


def test_ten_identical_callbacks_before_the_await(driver: Driver) -> None:
    """They are kept as one, and used when somebody waits."""
    process_id = driver.start("c29_many_early")
    driver.wait(process_id, "suspended")
    route = driver.route(process_id, "4")
    assert at_once([lambda: driver.post_callback(process_id, route, {"n": 1})] * 10) == ["accepted"] * 10
    assert driver.wait(process_id).status == "suspended"
    driver.resume(process_id, {"answer": "x"})
    seen = driver.wait(process_id, "completed")
    assert (driver.told(process_id), seen.state["taken"]) == (["validated"], {"n": 1})


@pytest.mark.parametrize("early", [False, True])
def test_ten_different_callbacks_at_once(driver: Driver, early: bool) -> None:  # noqa: FBT001  # a parameter of a test
    """One wins, and its sender is the one who was told so; by Kafka nobody is told."""
    process_id = driver.start("c29_many_early" if early else "c29_many")
    driver.wait(process_id, "suspended" if early else "awaiting_callback")
    route = driver.route(process_id, "4" if early else "2")
    answers = at_once([lambda n=n: driver.post_callback(process_id, route, {"n": n}) for n in TEN])  # type: ignore[misc] # bound at once
    if early:
        driver.resume(process_id, {"answer": "x"})
    winner = driver.wait(process_id, "completed").state["taken"]["n"]
    assert driver.told(process_id) == ["validated"]
    if not isinstance(driver, KafkaDoor):
        assert [n for n, answer in enumerate(answers) if answer == "accepted"] == [winner]


def test_parallel_inputs(driver: Driver) -> None:
    """One is taken, the others are refused, and what follows runs once."""
    process_id = driver.start("a11_input")
    driver.wait(process_id, "suspended")
    given = [{"name": f"n{n}", "contact": {"n": n}, "tags": []} for n in range(6)]
    answers = at_once([lambda page=page: driver.resume(process_id, page) for page in given])  # type: ignore[misc] # bound at once
    seen = driver.wait(process_id, "completed")
    assert Counter(answers) == {"accepted": 1, "wrong_status": 5}
    assert seen.state["person"]["contact"] == {"n": answers.index("accepted")}
    assert (seen.state["said"], len(driver.inputs(process_id))) == (["one", "two", "after"], 1)


def test_parallel_aborts(driver: Driver) -> None:
    """All are answered alike, one is recorded."""
    process_id = driver.start("b19_running")
    driver.wait(process_id, until=lambda _: "at the gate" in driver.told(process_id))
    assert at_once([lambda: driver.abort(process_id)] * 6) == ["accepted"] * 6
    driver.open_gate(process_id)
    seen = driver.wait(process_id, "aborted")
    assert [one.name for one in seen.steps].count("User aborted") == 1


def test_a_callback_and_an_abort_at_once(driver: Driver) -> None:
    """One of them is last, and nothing is left hanging."""
    for _ in range(3):
        process_id = driver.start("c29_many")
        route = handed_out(driver.wait(process_id, "awaiting_callback"))
        calls = [lambda: driver.post_callback(process_id, route, {"n": 1}), lambda: driver.abort(process_id)]  # noqa: B023  # called before the next round
        answers = at_once(calls)
        seen = driver.wait(process_id, "completed", "aborted")
        assert answers[1] == "accepted"
        assert (seen.status == "completed") == ("taken" in seen.state and seen.state.get("said") == ["after"])


def test_one_start_sent_ten_times_at_once(driver: Driver) -> None:
    """One process, the same answer for everybody."""
    command_id = f"ten-times-{id(driver)}-{driver.subscription()}"
    with ThreadPoolExecutor(10) as pool:
        started = set(pool.map(lambda _: driver.start("b17_endless", command_id=command_id), TEN))
    assert len(started) == 1
    process_id = started.pop()
    driver.wait(process_id, "failed")
    assert driver.told(process_id) == ["worked", "attempt 1"]


def test_the_loser_of_two_callbacks_is_told_over_http(http: HttpDoor, live: Live) -> None:
    """409, while the same body again is 200."""
    process_id = http.start("c29_many")
    route = handed_out(http.wait(process_id, "awaiting_callback"))
    posted = [{"n": n % 2} for n in TEN]
    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(lambda body: live.request("POST", route, json=body).status_code, posted))
    winner = http.wait(process_id, "completed").state["taken"]["n"]
    assert [status == 200 for status in statuses] == [body["n"] == winner for body in posted]
    assert set(statuses) == {200, 409}
