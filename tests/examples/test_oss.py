"""The outside system of the node example: a good vendor, slow, and busy at times."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, HTTPException, Request

from examples.node import oss, proof

STAFFED = "ams-1"
REMOTE = "utr-1"
CALM_NODE = "gva-1-er01"
BUSY_ONCE = "rtm-1-cr01"
BUSY_TWICE = "ams-2-er01"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a vendor's thinking here."""
    monkeypatch.setattr(oss, "THINKING_SECONDS", 0.0)
    monkeypatch.setattr(oss, "INSTALLATION_SECONDS", (0.0,))
    monkeypatch.setattr(oss, "CALLBACK_PAUSE_SECONDS", 0.0)


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """The URL of `app` on a port of its own."""
    # Who connects before the server is there waits in the socket's queue.
    door = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on", ws="none"))
    serving = asyncio.create_task(server.serve(sockets=[door]))
    try:
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


class Receiver:
    """Takes callbacks; may say no at first, and notes whether the order had been answered by then."""

    def __init__(self, refusals: int = 0, status: int = 503) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.came = asyncio.Event()
        self.app = FastAPI()
        self._refusals, self._status = refusals, status
        self.app.post("/callback")(self.take)

    async def take(self, request: Request) -> None:
        """Refuse, or take."""
        if self._refusals:
            self._refusals -= 1
            raise HTTPException(self._status)
        self.bodies.append(await request.json())
        self.came.set()


@asynccontextmanager
async def vendor(log: oss.RequestLog, gateway_url: str = "") -> AsyncIterator[httpx.AsyncClient]:
    """The outside system, and a client of it."""
    async with served(oss.create_app(log, gateway_url)) as url, httpx.AsyncClient(base_url=url) as client:
        yield client


def installation(site: str, answer_to: str) -> dict[str, str]:
    """An order for an installation."""
    return {"node_name": f"{site}-er01", "site": site, "answer_to": answer_to}


async def test_the_same_key_acts_once_and_is_logged_twice() -> None:
    """A repetition gets the first answer; the log shows that it came."""
    log, key = oss.RequestLog(), {"Idempotency-Key": "k1"}
    body = {"node_name": CALM_NODE, "site": "gva-1", "address": "10.64.0.1"}
    async with vendor(log) as client:
        first = await client.post("/inventory", json=body, headers=key)
        again = await client.post("/inventory", json=body, headers=key)
        shown = (await client.get("/log")).json()
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert [entry["outcome"] for entry in shown] == ["done", "repeated"]
    assert proof.outside_effects(shown) == [(CALM_NODE, "/inventory")]


async def test_two_requests_at_once_with_one_key_act_once() -> None:
    """The second waits for the first instead of overtaking it."""
    log, key = oss.RequestLog(), {"Idempotency-Key": "k1"}
    body = {"node_name": CALM_NODE, "address": "10.64.0.1"}
    async with vendor(log) as client:
        answers = await asyncio.gather(*(client.post("/monitoring", json=body, headers=key) for _ in range(5)))
    assert {answer.text for answer in answers} == {answers[0].text}
    assert [entry["outcome"] for entry in log.entries] == ["done", *["repeated"] * 4]


async def test_a_request_without_a_key_is_refused() -> None:
    """Without a key nothing could be told apart."""
    log = oss.RequestLog()
    async with vendor(log) as client:
        answer = await client.post("/monitoring", json={"node_name": CALM_NODE, "address": "10.64.0.1"})
    assert answer.status_code == 422
    assert log.entries == []


@pytest.mark.parametrize(("node_name", "refusals"), [(CALM_NODE, 0), (BUSY_ONCE, 1), (BUSY_TWICE, 2)])
async def test_monitoring_is_busy_at_times(node_name: str, refusals: int) -> None:
    """Which nodes are turned down, and how often, is the same in every run; a refusal changes nothing."""
    log, key = oss.RequestLog(), {"Idempotency-Key": "k1"}
    body = {"node_name": node_name, "address": "10.64.0.1"}
    async with vendor(log) as client:
        answers = [(await client.post("/monitoring", json=body, headers=key)).status_code for _ in range(refusals + 1)]
    assert answers == [503] * refusals + [201]
    assert proof.outside_effects(log.entries) == [(node_name, "/monitoring")]


async def test_at_a_staffed_site_the_callback_comes_before_the_answer() -> None:
    """The order is answered when its callback was taken."""
    log, receiver = oss.RequestLog(), Receiver()
    async with served(receiver.app) as url, vendor(log, url) as client:
        order = installation(STAFFED, "/callback")
        answer = await client.post("/installations", json=order, headers={"Idempotency-Key": "k1"})
    assert answer.status_code == 202
    assert [body["installation_id"] for body in receiver.bodies] == [answer.json()["installation_id"]]


async def test_elsewhere_the_callback_comes_later_and_is_repeated_until_it_is_taken() -> None:
    """A gateway that is away for a moment costs nothing; a whole URL is used as it is."""
    log, receiver = oss.RequestLog(), Receiver(refusals=3)
    async with served(receiver.app) as url, vendor(log, "http://nobody.invalid") as client:
        order = installation(REMOTE, f"{url}/callback")
        answer = await client.post("/installations", json=order, headers={"Idempotency-Key": "k1"})
        await asyncio.wait_for(receiver.came.wait(), 10)
    assert receiver.bodies[0]["installation_id"] == answer.json()["installation_id"]
    assert receiver.bodies[0]["serial_number"].startswith("SN")


async def test_a_refused_callback_is_not_repeated() -> None:
    """404 and 409 do not get better; the log says so."""
    log, receiver = oss.RequestLog(), Receiver(refusals=1, status=404)
    async with served(receiver.app) as url, vendor(log, url) as client:
        await client.post("/installations", json=installation(STAFFED, "/callback"), headers={"Idempotency-Key": "k1"})
    assert receiver.bodies == []
    assert log.entries[-1]["outcome"] == "undeliverable"


async def test_the_log_is_kept_in_a_file_too(tmp_path: Path) -> None:
    """What the server did can be read when it is gone."""
    log = oss.RequestLog(tmp_path / "oss.jsonl")
    log.add("/inventory", CALM_NODE, "done", key="k1")
    log.add("/inventory", CALM_NODE, "repeated", key="k1")
    lines = (tmp_path / "oss.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == log.entries
