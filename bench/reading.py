"""The workloads of those who look: lists of very many processes, and very many who follow events."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import httpx
import orjson

from bench.harness import Bench
from bench.lines import quantiles
from bench.outside import Outside
from stepwire.contracts.events import cloud_event, process_event
from stepwire.contracts.topics import PROCESS_EVENTS

LISTED = 100_000
LIST_RUNS = 100
LISTENERS = 1000
EVENTS_PER_SECOND = 500
FOLLOW_SECONDS = 10.0
OPEN_AT_ONCE = 50
PATIENCE_SECONDS = 30.0
KIND = process_event("waiting")

QUERIES = {
    "newest": {},
    "changed": {"sort": "last_modified_at,desc"},
    "failed": {"filter": "last_status,failed-waiting", "sort": "started_at,desc"},
    "workflow": {"filter": "workflow_name,listed_1,is_task,false", "sort": "last_modified_at,desc"},
    "by_workflow": {"filter": "is_task,false", "sort": "workflow_name,asc,started_at,desc"},
    "by_status": {"filter": "target,CREATE-MODIFY", "sort": "last_status,asc"},
    "creator": {"filter": "created_by,crm3", "sort": "started_at,desc"},
    "label": {"filter": "label,order:4711", "sort": "started_at,desc"},
}
FILL_SQL = """
    INSERT INTO stepwire_engine.processes (process_id, workflow, target, is_task, status, node, manifest, prefix,
        snapshot, log_seq, event_seq, command_id, last_step, failed_reason, reporter, created_by, labels,
        subscription_id, started_at, last_modified_at, completed_at)
    SELECT gen_random_uuid(), 'listed_' || n % 20,
        (ARRAY['CREATE', 'MODIFY', 'TERMINATE', 'SYSTEM', 'VALIDATE'])[1 + n % 5], n % 5 > 2, status, '6',
        repeat(md5((n % 20)::text), 2), repeat(md5(n::text), 2), convert_to(repeat('x', 400), 'UTF8'), 7, 6,
        'listed-' || n, 'Step ' || n % 9, CASE WHEN status = 'failed' THEN 'it failed' END, 'crm' || n % 30,
        'crm' || n % 30, jsonb_build_object('order', n::text), gen_random_uuid(), began, began + interval '5 seconds',
        CASE WHEN status IN ('completed', 'aborted') THEN began + interval '5 seconds' END
    FROM generate_series(1, $1::int) AS n,
        LATERAL (SELECT clock_timestamp() - make_interval(secs => n * 10) AS began) AS times,
        LATERAL (SELECT CASE WHEN n % 100 < 90 THEN 'completed' WHEN n % 100 < 93 THEN 'aborted'
            WHEN n % 100 < 96 THEN 'failed' WHEN n % 100 < 97 THEN 'suspended' WHEN n % 100 < 98 THEN 'waiting'
            ELSE 'awaiting_callback' END AS status) AS statuses
"""


async def lists(bench: Bench) -> None:
    """Pages of fifty of very many processes, filtered, sorted and counted, from request to last byte."""
    async with bench.outside() as outside:
        await outside.database.execute(FILL_SQL, LISTED, timeout=PATIENCE_SECONDS * 4)
        # What autovacuum does within a minute.
        await outside.database.execute("VACUUM ANALYZE stepwire_engine.processes", timeout=PATIENCE_SECONDS)
        async with httpx.AsyncClient(base_url=outside.url, timeout=PATIENCE_SECONDS) as http:
            for name, params in QUERIES.items():
                taken = [await _list(http, {"range": "0,50", **params}) for _ in range(LIST_RUNS + 10)]
                total = taken[-1][1]
                bench.show("list", LISTED, {"query": name, "total": total, **quantiles([t for t, _ in taken[10:]])})


async def follow(bench: Bench) -> None:
    """Very many who follow one process each, and one who follows everything: who misses what, and how late it comes."""
    subjects = [str(uuid4()) for _ in range(LISTENERS)]
    count = int(EVENTS_PER_SECOND * FOLLOW_SECONDS)
    async with bench.outside() as outside, AsyncExitStack() as stack:
        whole = await stack.enter_async_context(Listener(outside.url, {"type": KIND}))
        each: list[Listener] = []
        for first in range(0, LISTENERS, OPEN_AT_ONCE):
            opening = (Listener(outside.url, {"process_id": s}) for s in subjects[first : first + OPEN_AT_ONCE])
            each += await asyncio.gather(*(stack.enter_async_context(listener) for listener in opening))
        meter = bench.meter()
        await _happen(outside, subjects, count)
        own = [count // LISTENERS + (number < count % LISTENERS) for number in range(LISTENERS)]
        await asyncio.gather(whole.wait_for(count), *(one.wait_for(n) for one, n in zip(each, own, strict=True)))
        cpu = meter.seconds()
    missed = sum(max(n - one.seen, 0) for one, n in zip(each, own, strict=True))
    late = [seconds for one in each for seconds in one.late]
    values = {"events_per_s": EVENTS_PER_SECOND, "events": count, "missed": missed, "missed_by_all": count - whole.seen}
    bench.show("sse", LISTENERS, {**values, **quantiles(late), "cpu_s": cpu, "rss_mb": bench.rss()})


class Listener:
    """One client of Server-Sent Events on a bare connection: it counts, and notes how late each event came."""

    def __init__(self, url: str, params: dict[str, str]) -> None:
        self._address = urlsplit(url)
        self._path = f"/api/events?{urlencode(params)}"
        self._changed = asyncio.Event()
        self.seen = 0
        self.late: list[float] = []

    async def __aenter__(self) -> Self:
        reader, self._writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        self._writer.write(f"GET {self._path} HTTP/1.1\r\nHost: {self._address.netloc}\r\n\r\n".encode())
        # The comment at the beginning says that what happens from now on will come.
        await asyncio.wait_for(reader.readuntil(b": \n\n"), PATIENCE_SECONDS)
        self._reading = asyncio.create_task(self._read(reader))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.close()

    async def wait_for(self, count: int) -> None:
        """Return when so many events were seen, or when none came for long."""
        while self.seen < count:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), PATIENCE_SECONDS)
            except TimeoutError:
                return

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            if line.startswith(b"data: "):
                self.late.append(time.time() - orjson.loads(line[6:])["data"]["sent_at"])
                self.seen += 1
                self._changed.set()


async def _list(http: httpx.AsyncClient, params: dict[str, str]) -> tuple[float, int]:
    began = time.perf_counter()
    response = await http.get("/api/processes/", params=params)
    taken = time.perf_counter() - began
    response.raise_for_status()
    return taken, int(response.headers["content-range"].rpartition("/")[2])


async def _happen(outside: Outside, subjects: list[str], count: int) -> None:
    """Publish events of each in turn, evenly over the time."""
    began, sending = time.monotonic(), []
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / EVENTS_PER_SECOND - time.monotonic()))
        subject = subjects[number % len(subjects)]
        sending.append(await outside.producer.send(PROCESS_EVENTS, _event(subject, number), key=subject.encode()))
    await asyncio.gather(*sending)


def _event(subject: str, number: int) -> bytes:
    data: dict[str, Any] = {"process_id": subject, "sent_at": time.time()}
    event = cloud_event(KIND, str(uuid4()), subject, datetime.now(UTC), data, sequence=number + 1)
    return orjson.dumps(event)
