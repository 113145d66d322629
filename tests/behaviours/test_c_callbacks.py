"""C. Callbacks, 25 to 30."""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.behaviours.doors import HttpDoor, KafkaDoor, Live
from tests.behaviours.driver import Driver, Refused, Seen, handed_out
from tests.behaviours.wire import error_of


def awaiting(driver: Driver, workflow: str, **options: Any) -> tuple[UUID, str]:
    """A process that awaits its callback, and the route it has handed out."""
    process_id = driver.start(workflow, **options)
    return process_id, handed_out(driver.wait(process_id, "awaiting_callback"))


def post(live: Live, route: str, body: Any) -> httpx.Response:
    """POST JSON, or bytes as they are."""
    return live.request("POST", route, **({"content": body} if isinstance(body, bytes) else {"json": body}))


def dead_letter(live: Live, process_id: UUID, fits: Callable[[bytes], bool] = lambda _: True) -> str:
    """Why a record for a process has become a dead letter."""
    key = str(process_id).encode()
    return error_of(live.wire.dead("callbacks", lambda record: record.key == key and fits(record.value)))


def test_c25_a_callback_step_waits_for_the_answer(driver: Driver) -> None:
    """One visible step: the route is in the State of the action alone, the answer is under its key, then it goes on."""
    process_id = driver.start("c25_one")
    seen = driver.wait(process_id, "awaiting_callback")
    assert seen.outcomes[-1] == ("The vendor answers", "awaiting_callback")
    assert (seen.pending, (seen.waiting_on or {})["kind"]) == (("Say after", "Done"), "callback")
    assert (seen.state["in_state"], "callback_route" in seen.state) == (True, False)
    route = handed_out(seen)
    assert route.startswith(f"/api/processes/{process_id}/callback/")
    assert seen.state["leaked"] == "call <callback route> when done"
    driver.post_callback(process_id, route, {"serial": "X1"})
    seen = driver.wait(process_id, "completed")
    assert seen.names == ["Start", "Say before", "The vendor answers", "Say after", "Done"]
    assert (seen.state["callback_result"], seen.state["result_seen"]) == ({"serial": "X1"}, {"serial": "X1"})
    assert (seen.state["route_seen"], seen.state["said"]) == (False, ["before", "after"])


def test_c25_a_callback_step_under_a_false_condition_is_skipped(driver: Driver) -> None:
    """As a whole: nobody is asked outside."""
    process_id = driver.start("c25_skipped")
    seen = driver.wait(process_id, "completed")
    assert (seen.outcomes[1], driver.told(process_id)) == (("The vendor answers", "skipped"), [])


def test_c26_two_callback_steps_have_different_routes(driver: Driver) -> None:
    """Each has the keys it was given; the first route leads nowhere while the second waits."""
    process_id, first = awaiting(driver, "c26_two")
    driver.post_callback(process_id, first, {"n": 1})
    seen = driver.wait(process_id, "awaiting_callback", until=lambda seen: len(seen.state["routes"]) == 2)
    second = handed_out(seen)
    assert first != second
    # By Kafka nobody can be told.
    with suppress(Refused):
        driver.post_callback(process_id, first, {"n": 2})
    driver.post_callback(process_id, second, {"n": 3})
    state = driver.wait(process_id, "completed").state
    assert (state["first"], state["second"], state["both"]) == ({"n": 1}, {"n": 3}, [{"n": 1}, {"n": 3}])


def test_c26_a_retry_hands_out_a_new_token(driver: Driver) -> None:
    """The action runs again, the old token is refused, the new one works."""
    process_id, old = awaiting(driver, "c25_one")
    driver.post_callback(process_id, old, {"good": False})
    driver.wait(process_id, "failed")
    driver.resume(process_id)
    new = handed_out(driver.wait(process_id, "awaiting_callback"))
    assert (new != old, driver.told(process_id)) == (True, ["ordered", "ordered"])
    driver.post_callback(process_id, new, {"good": True})
    seen = driver.wait(process_id, "completed")
    assert [(step.status, step.attempt) for step in seen.steps if step.node == "3"] == [("failed", 1), ("success", 2)]


def test_c26_the_old_token_is_refused(http: HttpDoor, kafka: KafkaDoor, live: Live) -> None:
    """410 over HTTP, a dead letter by Kafka; the repeated action alone counts."""
    process_id = http.start("c26_action_fails")
    http.wait(process_id, "failed")
    old = live.route(process_id, "2", attempt=1)
    http.resume(process_id)
    http.wait(process_id, "awaiting_callback")
    assert post(live, old, {"n": 1}).status_code == 410
    kafka.post_callback(process_id, old, {"n": 1})
    assert dead_letter(live, process_id) == "await_over"
    assert http.wait(process_id).status == "awaiting_callback"
    http.abort(process_id)


@pytest.mark.parametrize("body", [b"[1]", b'"text"', b"7", b"null", b"{", b"", b'{"a": "x\\u0000"}'])
def test_c27_the_body_must_be_an_object(http: HttpDoor, live: Live, body: bytes) -> None:
    """Anything else is 400, and the process waits on."""
    process_id, route = awaiting(http, "c25_one")
    assert post(live, route, body).status_code == 400
    assert post(live, route, {"good": True}).status_code == 200
    assert http.wait(process_id, "completed").state["callback_result"] == {"good": True}


def test_c27_a_wrong_token_is_404_and_changes_nothing(http: HttpDoor, live: Live) -> None:
    """Altered, of another process, of another node, or no token at all."""
    process_id, route = awaiting(http, "c25_one")
    other, _ = awaiting(http, "c25_one")
    base, _, token = route.rpartition("/")
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    raw[-1] ^= 1
    altered = base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("=")
    wrong = [f"{base}/{altered}", f"{base}/nonsense", route.replace(str(process_id), str(other)), f"{base}/{token}x"]
    wrong += [route.replace(str(process_id), str(uuid4())), f"{base}/{'A' * 500}"]
    assert [post(live, one, {"n": 1}).status_code for one in wrong] == [404] * len(wrong)
    assert {http.wait(one).status for one in (process_id, other)} == {"awaiting_callback"}
    for one in (process_id, other):
        http.abort(one)


def showing(news: Any) -> Callable[[Seen], bool]:
    """Whether these news are shown."""
    return lambda seen: bool(seen.progress == news)


def test_c27_progress_is_shown_while_waiting(driver: Driver) -> None:
    """JSON or text, the last one wins, and it is gone afterwards."""
    process_id, route = awaiting(driver, "c25_one")
    for news in ("10 %", {"percent": 50, "phase": "digging"}, "90 %"):
        driver.post_progress(process_id, route, news)
        driver.wait(process_id, "awaiting_callback", until=showing(news))
    driver.post_callback(process_id, route, {"n": 1})
    assert driver.wait(process_id, "completed").progress is None


def test_c27_progress_is_gone_when_the_answer_is_there(driver: Driver) -> None:
    """Already while it is validated, when news come too late; so does another answer."""
    process_id, route = awaiting(driver, "c27_gated")
    driver.post_progress(process_id, route, "90 %")
    driver.wait(process_id, "awaiting_callback", until=showing("90 %"))
    driver.post_callback(process_id, route, {"n": 1})
    driver.wait(process_id, "running", until=lambda _: "at the gate" in driver.told(process_id))
    # By Kafka nobody can be told.
    with suppress(Refused):
        driver.post_progress(process_id, route, "late")
    with suppress(Refused):
        driver.post_callback(process_id, route, {"n": 2})
    assert driver.wait(process_id, "running").progress is None
    driver.open_gate(process_id)
    assert driver.wait(process_id, "completed").state["taken"] == {"n": 1}


def test_c27_progress_that_nobody_awaits_is_refused(http: HttpDoor, live: Live) -> None:
    """409 when the await is over, 404 for a wrong token."""
    process_id, route = awaiting(http, "c25_one")
    http.post_callback(process_id, route, {"n": 1})
    http.wait(process_id, "completed")
    assert post(live, f"{route}/progress", "late").status_code == 409
    assert post(live, f"{route}x/progress", "wrong").status_code == 404


def test_c28_a_callback_times_out(driver: Driver) -> None:
    """Failed with that reason and not before; a retry waits anew, an abort ends it."""
    first, second = driver.start("c28_short"), driver.start("c28_short")
    for process_id in (first, second):
        seen = driver.wait(process_id, "failed")
        assert (seen.failed_reason, seen.outcomes[-1]) == ("Callback timed out", ("Answer quickly", "failed"))
    driver.abort(second)
    assert driver.wait(second, "aborted").steps[-1].name == "User aborted"
    driver.resume(first)
    route = handed_out(driver.wait(first, "awaiting_callback"))
    driver.post_callback(first, route, {"n": 1})
    assert driver.wait(first, "completed").state["callback_result"] == {"n": 1}


def test_c28_a_late_callback_is_refused(http: HttpDoor, kafka: KafkaDoor, live: Live) -> None:
    """410 over HTTP, a dead letter by Kafka."""
    process_id = http.start("c28_short")
    seen = http.wait(process_id, "failed")
    assert post(live, handed_out(seen), {"n": 1}).status_code == 410
    kafka.post_callback(process_id, handed_out(seen), {"n": 1})
    assert dead_letter(live, process_id) == "await_over"
    assert http.wait(process_id).outcomes == seen.outcomes


def test_c28_the_deadline_is_shown(driver: Driver) -> None:
    """What is awaited until when can be seen."""
    process_id = driver.start("c28_long")
    waiting = driver.wait(process_id, "awaiting_callback").waiting_on or {}
    assert (waiting["kind"], bool(waiting["until"])) == ("callback", True)
    driver.abort(process_id)


def test_c28_callback_and_timeout_at_once_have_one_winner(http: HttpDoor, live: Live) -> None:
    """Whatever was answered holds: 200 is a callback that counts, 410 one that does not."""
    processes = [http.start("c28_short") for _ in range(9)]

    def post_at_the_end(process_id: UUID) -> int:
        http.wait(process_id, until=_nearly_over)
        return post(live, live.route(process_id, "2"), {"n": 1}).status_code

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(post_at_the_end, processes))
    for process_id, answer in zip(processes, answers, strict=True):
        seen = http.wait(process_id, "completed", "failed")
        assert (answer, seen.status) in ((200, "completed"), (410, "failed"))


def _nearly_over(seen: Seen) -> bool:
    until = (seen.waiting_on or {}).get("until")
    left = datetime.fromisoformat(until) - datetime.now(UTC) if until else None
    return seen.status == "failed" or (left is not None and left < timedelta(seconds=0.03))


def test_c29_an_early_callback_is_kept_and_used(driver: Driver) -> None:
    """It came while the process was asking somebody else; the action runs all the same."""
    process_id = driver.start("c29_early")
    driver.wait(process_id, "suspended")
    driver.post_callback(process_id, driver.route(process_id, "3"), {"early": True})
    driver.resume(process_id, {})
    seen = driver.wait(process_id, "completed")
    assert (seen.state["callback_result"], driver.told(process_id)) == ({"early": True}, ["ordered"])


def test_c29_a_callback_may_be_faster_than_its_action(driver: Driver) -> None:
    """The vendor posts back before the step that ordered has returned."""
    process_id = driver.start("c29_faster")
    driver.wait(process_id, until=lambda _: bool(driver.told(process_id)))
    driver.post_callback(process_id, driver.told(process_id)[0], {"fast": True})
    driver.open_gate(process_id)
    assert driver.wait(process_id, "completed").state["callback_result"] == {"fast": True}


def test_c29_a_repeat_is_2xx_and_changes_nothing(http: HttpDoor, live: Live) -> None:
    """Also when the process has ended; another body is 409 as long as the await is known."""
    process_id, route = awaiting(http, "c25_one")
    assert [post(live, route, {"a": 1, "b": 2}).status_code for _ in range(3)] == [200] * 3
    seen = http.wait(process_id, "completed")
    assert post(live, route, {"b": 2, "a": 1}).status_code == 200
    assert post(live, route, {"a": 2}).status_code == 409
    assert http.wait(process_id).outcomes == seen.outcomes


def test_c29_a_route_that_is_sent_back_is_not_kept(driver: Driver) -> None:
    """Many systems repeat where they call, in news and in answers."""
    process_id, route = awaiting(driver, "c25_one")
    token = route.rpartition("/")[2]
    driver.post_progress(process_id, route, {"called": f"https://here{route}?x=1", "of": token})
    redacted = {"called": "https://here<callback route>?x=1", "of": "<callback route>"}
    driver.wait(process_id, "awaiting_callback", until=showing(redacted))
    driver.post_callback(process_id, route, {"called": [route], token: 1})
    answer = driver.wait(process_id, "completed").state["callback_result"]
    assert answer == {"called": ["<callback route>"], "<callback route>": 1}
    # The same once more is no other answer.
    driver.post_callback(process_id, route, {"called": [route], token: 1})


def test_c29_the_token_is_nowhere(http: HttpDoor, live: Live) -> None:
    """Neither in the answer of the API, nor in any table, also when the action raised it."""
    process_id = http.start("c26_action_fails")
    http.wait(process_id, "failed")
    http.resume(process_id)
    http.wait(process_id, "awaiting_callback")
    tokens = [live.route(process_id, "2", attempt).rpartition("/")[2] for attempt in (1, 2)]
    shown = live.request("GET", f"/api/processes/{process_id}").text
    assert "<callback route>" in shown
    assert [token in shown for token in tokens] == [False, False]
    for table in ("processes", "process_steps", "commands", "process_notes", "step_outcomes"):
        stored = live.sql(f"SELECT coalesce(string_agg(t::text, ' '), '') FROM stepwire_engine.{table} t")[0][0]  # noqa: S608
        assert [token in stored for token in tokens] == [False, False], table
    http.abort(process_id)


def test_c30_the_same_by_kafka(kafka: KafkaDoor, live: Live) -> None:
    """A wrong token, another body and what nobody can read are dead letters; a repeat is just counted."""
    process_id, route = awaiting(kafka, "c25_one")
    token = route.rpartition("/")[2]
    kafka.post_callback(process_id, f"{token}x", {"n": 0})
    assert dead_letter(live, process_id, lambda raw: b'"n":0' in raw) == "wrong_token"
    kafka.post_callback(process_id, route, {"n": 1})
    kafka.post_callback(process_id, route, {"n": 1})
    kafka.post_callback(process_id, route, {"n": 2})
    assert dead_letter(live, process_id, lambda raw: b'"n":2' in raw) == "different_body"
    live.wire.send("callbacks", {"type": "CallbackReceived", "process_id": str(process_id), "n": 3}, str(process_id))
    assert dead_letter(live, process_id, lambda raw: b'"n":3' in raw) == "malformed"
    assert kafka.wait(process_id, "completed").state["callback_result"] == {"n": 1}


def refused(answering: Driver, process_id: UUID, route: str, payload: dict[str, Any]) -> int | None:
    """The status with which a callback is refused, None where there are none."""
    with pytest.raises(Refused) as told:
        answering.post_callback(process_id, route, payload)
    return told.value.status


def over(answering: Driver, process_id: UUID, route: str, payload: dict[str, Any]) -> bool:
    """Whether a callback is refused because its await is over."""
    with pytest.raises(Refused) as told:
        answering.post_callback(process_id, route, payload)
    return (told.value.status, told.value.reason) in ((410, "await_over"), (None, "await_over"))


def test_c27_a_wrong_token_changes_nothing(answering: Driver) -> None:
    """Altered, or of another process."""
    (process_id, route), (other, another) = awaiting(answering, "c25_one"), awaiting(answering, "c25_one")
    before = answering.wait(process_id)
    foreign = another.replace(str(other), str(process_id))
    for wrong in (f"{route}x", route[:-1], f"{route[:-20]}{'A' * 20}", foreign):
        assert refused(answering, process_id, wrong, {"n": 1}) in (404, None)
    assert answering.wait(process_id) == before
    for one in (process_id, other):
        answering.abort(one)


def test_c28_what_comes_too_late_is_refused(answering: Driver) -> None:
    """After a timeout, a retry, an abort, and when the step was answered and the next one waits."""
    late = answering.start("c28_short")
    route = handed_out(answering.wait(late, "failed"))
    assert refused(answering, late, route, {"n": 1}) in (410, None)
    answering.resume(late)
    new = handed_out(answering.wait(late, "awaiting_callback"))
    assert refused(answering, late, route, {"n": 1}) in (410, None)
    answering.abort(late)
    answering.wait(late, "aborted")
    assert refused(answering, late, new, {"n": 1}) in (410, None)
    assert "callback_result" not in answering.wait(late).state


def test_c26_the_token_of_an_answer_that_was_not_good_is_over(answering: Driver) -> None:
    """Another body for it is told that the step was tried again, the same body nothing new; ended or not."""
    process_id, old = awaiting(answering, "c25_one")
    answering.post_callback(process_id, old, {"good": False})
    answering.wait(process_id, "failed")
    answering.resume(process_id)
    new = handed_out(answering.wait(process_id, "awaiting_callback"))
    assert over(answering, process_id, old, {"good": True})
    answering.post_callback(process_id, old, {"good": False})
    assert answering.wait(process_id).status == "awaiting_callback"
    answering.post_callback(process_id, new, {"good": True})
    answering.wait(process_id, "completed")
    assert over(answering, process_id, old, {"good": True})


def test_c26_the_token_of_an_answer_that_was_not_good_is_over_by_kafka(
    http: HttpDoor, kafka: KafkaDoor, live: Live
) -> None:
    """The dead letter has the same word."""
    process_id, old = awaiting(http, "c25_one")
    http.post_callback(process_id, old, {"good": False})
    http.wait(process_id, "failed")
    http.resume(process_id)
    http.wait(process_id, "awaiting_callback")
    kafka.post_callback(process_id, old, {"good": True})
    assert dead_letter(live, process_id) == "await_over"
    http.abort(process_id)


def test_c29_another_body_is_refused_and_the_same_is_not(answering: Driver) -> None:
    """While it is awaited no more, and when the process has ended."""
    process_id, route = awaiting(answering, "c25_one")
    answering.post_callback(process_id, route, {"a": 1, "b": [2, {"c": 3}]})
    seen = answering.wait(process_id, "completed")
    answering.post_callback(process_id, route, {"b": [2, {"c": 3}], "a": 1})
    assert refused(answering, process_id, route, {"a": 1, "b": [2, {"c": 4}]}) in (409, None)
    assert answering.wait(process_id).outcomes == seen.outcomes


def test_c27_progress_of_nobody_is_refused(answering: Driver) -> None:
    """Before the await, after it, and with a wrong token."""
    process_id = answering.start("c29_early")
    answering.wait(process_id, "suspended")
    route = answering.route(process_id, "3")
    for wrong in (route, f"{route}x"):
        with pytest.raises(Refused) as told:
            answering.post_progress(process_id, wrong, "early")
        assert told.value.status in (None, 409 if wrong == route else 404)
    answering.abort(process_id)
