"""An outside system: inventory, installations and monitoring of nodes, as a server in a process of its own.

It behaves like a good vendor: a request repeated with the same Idempotency-Key is answered as the first time and
changes nothing. Yet it is slow, its monitoring is too busy at times, and at staffed sites its engineers are so
quick that the callback comes before the order itself is answered. Every request goes to a log: `GET /log`, and a
file of JSON lines. Run it with `python -m examples.node.oss --port 9000 --log oss.jsonl`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import zlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import uvicorn
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel

STAFFED_SITES = frozenset({"ams-1", "lon-2"})
THINKING_SECONDS = 0.25
INSTALLATION_SECONDS = (0.4, 0.8, 1.6)
CALLBACK_ATTEMPTS = 30
CALLBACK_PAUSE_SECONDS = 0.3
TOO_EARLY = 408
SERVER_ERROR = 500


class InventoryRequest(BaseModel):
    """A node to be known."""

    node_name: str
    site: str
    address: str


class InstallationRequest(BaseModel):
    """A node to be put into its rack; `answer_to` is the URL that is told when it is done."""

    node_name: str
    site: str
    answer_to: str


class MonitoringRequest(BaseModel):
    """A node to be watched."""

    node_name: str
    address: str


def number_of(text: str) -> int:
    """Return a number that is the same for the same text in every run."""
    return zlib.crc32(text.encode())


class RequestLog:
    """Every request, in memory for `GET /log` and in a file that outlives the server."""

    def __init__(self, path: Path | None = None) -> None:
        self.entries: list[dict[str, Any]] = []
        self._path = path

    def add(self, route: str, node_name: str, outcome: str, **more: Any) -> None:
        """Note one request; `outcome` is `done`, `repeated`, `busy`, `delivered` or `undeliverable`."""
        entry = {"time": datetime.now(UTC).isoformat(), "route": route, "node_name": node_name, "outcome": outcome}
        self.entries.append(entry | more)
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self.entries[-1]) + "\n")


class Vendor:
    """What the outside system remembers."""

    def __init__(self, log: RequestLog) -> None:
        self.log = log
        self._answers: dict[str, dict[str, Any]] = {}
        self._under_way: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._asked: Counter[str] = Counter()

    async def act_once(
        self, route: str, node_name: str, key: str, answer: dict[str, Any]
    ) -> tuple[dict[str, Any], bool]:
        """Do the work and remember the answer; False beside the first answer says that this is a repetition."""
        async with self._under_way[key]:
            if key in self._answers:
                self.log.add(route, node_name, "repeated", key=key)
                return self._answers[key], False
            self._answers[key] = answer
            self.log.add(route, node_name, "done", key=key)
            await asyncio.sleep(THINKING_SECONDS)
            return answer, True

    def too_busy(self, node_name: str) -> bool:
        """Whether monitoring turns this request down: for every third node once, for every ninth twice."""
        self._asked[node_name] += 1
        number = number_of(node_name)
        return self._asked[node_name] <= (number % 3 == 0) + (number % 9 == 0)


class Engineers:
    """They install nodes and post to the callback route, again and again until somebody takes the answer."""

    def __init__(self, log: RequestLog, gateway_url: str) -> None:
        self._log = log
        self._gateway_url = gateway_url
        self._at_work: set[asyncio.Task[None]] = set()
        self._client = httpx.AsyncClient(timeout=10.0)

    async def send(self, order: InstallationRequest, answer: dict[str, Any]) -> None:
        """At a staffed site return when the callback was taken; elsewhere the work goes on in the background."""
        if order.site in STAFFED_SITES:
            await self._report(order, answer)
            return
        task = asyncio.create_task(self._install(order, answer))
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)

    async def go_home(self) -> None:
        """Stop what is under way."""
        for task in self._at_work:
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)
        await self._client.aclose()

    async def _install(self, order: InstallationRequest, answer: dict[str, Any]) -> None:
        await asyncio.sleep(INSTALLATION_SECONDS[number_of(order.node_name) % len(INSTALLATION_SECONDS)])
        await self._report(order, answer)

    async def _report(self, order: InstallationRequest, answer: dict[str, Any]) -> None:
        url = order.answer_to if "://" in order.answer_to else self._gateway_url + order.answer_to
        body = answer | {"serial_number": f"SN{number_of(order.node_name):010d}"}
        for attempt in range(1, CALLBACK_ATTEMPTS + 1):
            status = await self._post(url, body)
            if status is not None and status < SERVER_ERROR and status != TOO_EARLY:
                outcome = "delivered" if status < 300 else "undeliverable"  # noqa: PLR2004 - the range of successes
                self._log.add("/callback", order.node_name, outcome, status=status, attempt=attempt)
                return
            await asyncio.sleep(CALLBACK_PAUSE_SECONDS)
        self._log.add("/callback", order.node_name, "undeliverable", attempt=CALLBACK_ATTEMPTS)

    async def _post(self, url: str, body: dict[str, Any]) -> int | None:
        try:
            return (await self._client.post(url, json=body)).status_code
        except httpx.TransportError:
            return None


Key = Annotated[str, Header(alias="Idempotency-Key")]


class Desk:
    """Takes requests; each method answers one route."""

    def __init__(self, log: RequestLog, gateway_url: str) -> None:
        self._log = log
        self._vendor = Vendor(log)
        self._engineers = Engineers(log, gateway_url)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Stop the engineers when the server stops."""
        yield
        await self._engineers.go_home()

    async def inventory(self, order: InventoryRequest, key: Key) -> dict[str, Any]:
        """Know a node from now on."""
        answer = {"inventory_id": f"INV-{number_of(order.node_name):010d}"}
        return (await self._vendor.act_once("/inventory", order.node_name, key, answer))[0]

    async def installations(self, order: InstallationRequest, key: Key) -> dict[str, Any]:
        """Send an engineer, once."""
        answer = {"installation_id": f"JOB-{number_of(order.node_name):010d}"}
        answer, first = await self._vendor.act_once("/installations", order.node_name, key, answer)
        if first:
            await self._engineers.send(order, answer)
        return answer

    async def monitoring(self, order: MonitoringRequest, key: Key) -> dict[str, Any]:
        """Watch a node, or be too busy: 503."""
        if self._vendor.too_busy(order.node_name):
            self._log.add("/monitoring", order.node_name, "busy", key=key)
            raise HTTPException(503, "monitoring is busy; try again")
        answer = {"monitoring_id": f"MON-{number_of(order.node_name):010d}"}
        return (await self._vendor.act_once("/monitoring", order.node_name, key, answer))[0]

    async def read_log(self) -> list[dict[str, Any]]:
        """Every request so far."""
        return self._log.entries


def create_app(log: RequestLog, gateway_url: str = "") -> FastAPI:
    """Build the server; `gateway_url` is put before callback routes that are mere paths."""
    desk = Desk(log, gateway_url)
    app = FastAPI(title="Outside system of the node example", lifespan=desk.lifespan)
    app.post("/inventory", status_code=201)(desk.inventory)
    app.post("/installations", status_code=202)(desk.installations)
    app.post("/monitoring", status_code=201)(desk.monitoring)
    app.get("/log")(desk.read_log)
    return app


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(description="The outside system of the node example.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--log", type=Path, default=None, help="file for the request log, one JSON object per line")
    parser.add_argument("--gateway-url", default="", help="put before callback routes that are mere paths")
    given = parser.parse_args()
    app = create_app(RequestLog(given.log), given.gateway_url)
    uvicorn.run(app, host=given.host, port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
