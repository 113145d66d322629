"""Callbacks at awkward moments, and gateways that die."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from stepwire.contracts.commands import process_id_of
from tests.faults.outside import Asked
from tests.faults.proofs import assert_effects_once
from tests.faults.scene import Scene, answer_to, in_threads
from tests.faults.workflows.flows import CALLS_BACK, THREE_WRITES
from tests.support.waiting import wait_for

MANY = 20
SPREAD_SECONDS = 0.005
LEFT = """
SELECT extract(epoch FROM deadline - clock_timestamp())::float8 FROM stepwire_engine.processes WHERE process_id = %s
"""
AWAITED = """
SELECT count(*) FROM stepwire_engine.processes WHERE process_id = ANY(%s) AND status IN ('awaiting_callback', 'failed')
"""
AWAITING = "SELECT count(*) FROM stepwire_engine.processes WHERE process_id = ANY(%s) AND status = 'awaiting_callback'"
RECEIVED = "SELECT count(*) FROM stepwire_engine.process_steps WHERE process_id = %s AND body_hash IS NOT NULL"


def ordered(scene: Scene, ids: list[UUID]) -> list[Asked]:
    """The orders of these processes, when all of them await their callback."""
    wait_for(lambda: scene.sql(AWAITING, ids) == [(len(ids),)], what="all awaiting their callbacks")
    return [scene.outside.asked_for("order", process_id)[0] for process_id in ids]


def test_22_callbacks_before_the_await_is_known(scene: Scene) -> None:
    """The vendor answers before the order has even returned: accepted with 200, and none is lost."""
    codes: list[int] = []

    def answer_first(asked: Asked) -> dict[str, Any]:
        codes.append(scene.request("POST", asked.body["callback_route"], json=answer_to(asked)).status_code)
        return {"order": asked.key}

    scene.outside.on("order", answer_first)
    ids = scene.start("calls_back", MANY)
    scene.wait(ids)
    assert codes == [httpx.codes.OK] * MANY
    assert_effects_once(scene.sql, ids, CALLS_BACK)


def test_23_one_callback_posted_twenty_times_at_once(scene: Scene) -> None:
    """Each gets the same answer, the process moves once; another body is refused."""
    ids = scene.start("calls_back")
    (asked,) = ordered(scene, ids)
    route, body = asked.body["callback_route"], answer_to(asked)
    answers = in_threads(lambda: scene.request("POST", route, json=body).status_code, MANY)
    assert answers == [httpx.codes.OK] * MANY
    scene.wait(ids)
    assert scene.request("POST", route, json=body).status_code == httpx.codes.OK
    assert scene.request("POST", route, json={"other": 1}).status_code == httpx.codes.CONFLICT
    assert scene.sql(RECEIVED, ids[0]) == [(1,)]
    assert_effects_once(scene.sql, ids, CALLS_BACK)


def test_24_callback_and_timeout_in_the_same_instant(scene: Scene) -> None:
    """One of them wins, and the sender is told which: accepted and applied, or over and failed."""
    ids = scene.start("short_await", MANY)
    # On a busy machine the first of them is over before the last one awaits anything.
    wait_for(lambda: scene.sql(AWAITED, ids) == [(MANY,)], what="all awaiting, or over")
    orders = [scene.outside.asked_for("order", process_id)[0] for process_id in ids]

    def answer_at_the_deadline(numbered: tuple[int, Asked]) -> int:
        number, asked = numbered
        ((seconds,),) = scene.sql(LEFT, asked.process_id)
        # An answer takes a moment: the last ones come too late.
        threading.Event().wait(max(0.0, (seconds or 0.0) + (number - MANY) * SPREAD_SECONDS))
        return scene.request("POST", asked.body["callback_route"], json=answer_to(asked)).status_code

    with ThreadPoolExecutor(MANY) as pool:
        answers = dict(zip(ids, pool.map(answer_at_the_deadline, enumerate(orders)), strict=True))
    assert set(answers.values()) <= {httpx.codes.OK, httpx.codes.GONE}
    scene.wait([each for each in ids if answers[each] == httpx.codes.OK])
    scene.wait([each for each in ids if answers[each] == httpx.codes.GONE], "failed")


def test_25_callbacks_that_nobody_waits_for(scene: Scene) -> None:
    """A forged token is unknown, a finished or aborted process has gone on."""
    ids = scene.start("calls_back", 2)
    answered, aborted = ordered(scene, ids)
    route = answered.body["callback_route"]
    assert scene.request("POST", route[:-20] + "A" * 20, json={}).status_code == httpx.codes.NOT_FOUND
    assert scene.request("POST", route.replace(str(ids[0]), str(uuid4())), json={}).status_code == httpx.codes.NOT_FOUND
    scene.request("PUT", f"/api/processes/{ids[1]}/abort").raise_for_status()
    scene.wait([ids[1]], "aborted")
    gone = scene.request("POST", aborted.body["callback_route"], json=answer_to(aborted))
    assert gone.status_code == httpx.codes.GONE
    assert scene.call_back(answered).status_code == httpx.codes.OK
    scene.wait([ids[0]])


@pytest.mark.parametrize("reached", [1, 2])
def test_26_gateway_killed_with_a_callback_in_hand(scene: Scene, reached: int) -> None:
    """Nobody is told 2xx who is not; who got no answer sends again, and the process moves once."""
    ids = scene.start("calls_back", 2)
    first, second = ordered(scene, ids)
    scene.arm("gateway-1", f"gateway.received=kill@{reached}")
    orders = [first, second][:reached]
    for asked in orders[:-1]:
        assert scene.call_back(asked).status_code == httpx.codes.OK
    with pytest.raises(httpx.TransportError):
        scene.request("POST", orders[-1].body["callback_route"], json=answer_to(orders[-1]))
    scene.revive("gateway-1", "gateway.received")
    for asked in (first, second):
        assert scene.call_back(asked).status_code == httpx.codes.OK
    scene.wait(ids)
    assert_effects_once(scene.sql, ids, CALLS_BACK)


def test_26_gateway_killed_with_a_start_in_hand(scene: Scene) -> None:
    """The client gets no answer, asks again with its key, and there is one process."""
    scene.arm("gateway-1", "gateway.received=kill@1")
    command_id = f"fault-{uuid4()}"
    headers = {"Idempotency-Key": command_id}
    with pytest.raises(httpx.TransportError):
        scene.request("POST", "/api/processes/three_writes", json=[], headers=headers)
    scene.revive("gateway-1", "gateway.received")
    response = scene.insist("POST", "/api/processes/three_writes", json=[], headers=headers)
    process_id = UUID(response.json()["id"])
    assert process_id == process_id_of(command_id)
    scene.wait([process_id])
    assert_effects_once(scene.sql, [process_id], THREE_WRITES)
