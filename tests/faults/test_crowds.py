"""Callbacks that are not what they say, and more clients than a gateway can serve."""

from __future__ import annotations

import select
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from stepwire.contracts.tokens import derive_key, make_token, read_token
from tests.faults.outside import Asked
from tests.faults.proofs import assert_effects_once
from tests.faults.scene import Scene, answer_to
from tests.faults.workflows.flows import CALLS_BACK
from tests.support.waiting import wait_for

AWAITING = "SELECT count(*) FROM stepwire_engine.processes WHERE process_id = ANY(%s) AND status = 'awaiting_callback'"
MEBIBYTE = 1024 * 1024
LARGE = b"x" * (5 * MEBIBYTE)
CHUNK = b"x" * (64 * 1024)
HALF = b'{"a": "' + b"x" * (MEBIBYTE - 64 * 1024)
MANY = 100
SLOW = 250
IDLE = 200
FEW = 6
MOST_GROWTH = 160 * MEBIBYTE
SEND_SECONDS = 10.0


def test_28_forged_replayed_and_altered_callbacks(scene: Scene) -> None:
    """Every forged one is answered as if there were no such process; a replayed one changes nothing."""
    ids = scene.start("calls_back", 2)
    wait_for(lambda: scene.sql(AWAITING, ids) == [(2,)], what="both awaiting")
    asked, other = (scene.outside.asked_for("order", each)[0] for each in ids)
    route, token = asked.body["callback_route"].rsplit("/", 1)
    known = read_token(token)
    forged = [token[:at] + ("A" if letter != "A" else "B") + token[at + 1 :] for at, letter in enumerate(token)]
    forged += [token[:-1], f"{token}A", "", "-" * 200, other.body["callback_route"].rsplit("/", 1)[1]]
    forged += [make_token(derive_key(b"another secret", ids[0]), known.secret_id, known.node, known.attempt)]
    answers = {each: scene.request("POST", f"{route}/{each}", json=answer_to(asked)).status_code for each in forged}
    assert {each: code for each, code in answers.items() if code != httpx.codes.NOT_FOUND} == {}
    assert scene.sql(AWAITING, ids) == [(2,)]
    for each in (asked, other):
        assert scene.call_back(each).status_code == httpx.codes.OK
    scene.wait(ids)
    assert scene.call_back(asked).status_code == httpx.codes.OK
    assert_effects_once(scene.sql, ids, CALLS_BACK)


def test_28_the_token_of_an_attempt_that_is_over(scene: Scene) -> None:
    """After a timeout and a retry there is a new one; the old one is told that nobody waits for it."""
    (process_id,) = scene.start("short_await")
    scene.wait([process_id], "failed")
    (first,) = scene.outside.asked_for("order", process_id)
    codes: list[int] = []

    def answer_both(asked: Asked) -> dict[str, Any]:
        # At once: on a busy machine the second await might be over before anybody has looked at it.
        codes.append(scene.request("POST", first.body["callback_route"], json=answer_to(first)).status_code)
        scene.call_back(asked)
        return {"order": asked.key}

    scene.outside.on("order", answer_both)
    scene.request("PUT", f"/api/processes/{process_id}/resume", json=[]).raise_for_status()
    scene.wait([process_id])
    assert set(codes) == {httpx.codes.GONE}
    assert_effects_once(scene.sql, [process_id], ["answered"])


def test_29_flood(scene: Scene) -> None:
    """Large bodies, bodies that never end and idle connections: memory is bounded, and the engine goes on."""
    gateway = psutil.Process(scene.service("gateway-1").pid)
    before = gateway.memory_info().rss
    with ExitStack() as crowd, scene.all_survive():
        for _ in range(IDLE):
            crowd.enter_context(connect(scene))
        slow = [crowd.enter_context(half_a_body(scene)) for _ in range(SLOW)]
        wait_for(lambda: bool(select.select(slow, [], [], 0)[0]), what="the first refusal")
        with ThreadPoolExecutor(FEW) as pool:
            codes = set(pool.map(lambda announced: large(scene, announced=announced), [True, False] * (MANY // 2)))
        assert codes <= {httpx.codes.REQUEST_ENTITY_TOO_LARGE, httpx.codes.TOO_MANY_REQUESTS, None}
        assert httpx.codes.REQUEST_ENTITY_TOO_LARGE in codes
        grown = gateway.memory_info().rss - before
        scene.answer_orders()
        ids = scene.start_over_http("calls_back", FEW)
        scene.wait(ids)
    assert grown < MOST_GROWTH, f"{grown / MEBIBYTE:.0f} MiB"
    assert_effects_once(scene.sql, ids, CALLS_BACK)


def connect(scene: Scene) -> socket.socket:
    """A connection that nothing is sent over."""
    address = urlsplit(scene.service("gateway-1").url)
    return socket.create_connection((address.hostname, address.port), SEND_SECONDS)


def half_a_body(scene: Scene) -> socket.socket:
    """A request whose body does not end."""
    connection = connect(scene)
    head = f"POST /api/processes/three_writes HTTP/1.1\r\nHost: x\r\nContent-Length: {MEBIBYTE}\r\n\r\n"
    # One that is refused may be closed while it is being sent.
    with suppress(OSError):
        connection.sendall(head.encode() + HALF)
    return connection


def large(scene: Scene, *, announced: bool) -> int | None:
    """The answer to 5 MB; None where the connection was closed before all of it was sent."""
    pieces = (LARGE[at : at + len(CHUNK)] for at in range(0, len(LARGE), len(CHUNK)))
    try:
        return scene.request("POST", "/api/processes/three_writes", content=LARGE if announced else pieces).status_code
    except httpx.TransportError:
        return None
