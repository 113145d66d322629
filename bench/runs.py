"""One run of each kind: what a workload repeats."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

from bench.harness import Bench
from bench.outside import Events, Outside, start_record
from stepwire.contracts.commands import process_id_of

EVENT_SECONDS = 60.0
COMPLETED_SQL = "SELECT count(*) FROM stepwire_engine.processes WHERE status = 'completed'"
WAITING_SQL = "SELECT count(*) FROM stepwire_engine.processes WHERE status = 'awaiting_callback'"
CLOCK_SQL = """
    SELECT (delta -> 'set' ->> $2)::float8 FROM stepwire_engine.process_steps
    WHERE process_id = $1 AND status = 'success' AND delta -> 'set' ? $2
"""

Start = Callable[[Outside, str], Awaitable[float]]
Answered = tuple[UUID, float]


async def start_by_kafka(outside: Outside, command_id: str) -> float:
    """Publish the command; return the time just before."""
    return await outside.start("bench_five", command_id)


async def start_by_http(outside: Outside, command_id: str) -> float:
    """Post the command and wait for the answer that it is accepted; return the time just before."""
    before = time.perf_counter()
    _, status = await outside.post("/api/processes/bench_five?reporter=bench", [], {"Idempotency-Key": command_id})
    if status != 201:  # noqa: PLR2004 - created
        raise RuntimeError(f"a start by HTTP was answered {status}; look into the gateway's log")
    return before


STARTS: dict[str, Start] = {"kafka": start_by_kafka, "http": start_by_http}


async def run_one(outside: Outside, events: Events, start: Start, command_id: str) -> float:
    """Seconds from starting a process of five steps to seeing its completed event."""
    completed = events.expect(process_id_of(command_id), "completed")
    began = await start(outside, command_id)
    return await asyncio.wait_for(completed, EVENT_SECONDS) - began


async def run_burst(outside: Outside, count: int) -> None:
    """Run processes first: connections, prepared statements and compilers that warm up are not what is measured."""
    already = await outside.count(COMPLETED_SQL)
    await outside.publish([start_record("bench_five", f"burst-{already}-{number}") for number in range(count)])
    await outside.wait_for_count(already + count, COMPLETED_SQL)


async def let_wait(outside: Outside, count: int) -> None:
    """Start processes that wait for a callback nobody posts."""
    await outside.publish([start_record("bench_callback", f"waiting-{number}") for number in range(count)])
    await outside.wait_for_count(count, WAITING_SQL)


async def run_callback(bench: Bench, outside: Outside, events: Events, workflow: str, command_id: str) -> Answered:
    """Run one process to its callback and post it; return the time just before the POST."""
    process_id = process_id_of(command_id)
    waits, completed = (events.expect(process_id, word) for word in ("awaiting_callback", "completed"))
    await outside.start(workflow, command_id)
    await asyncio.wait_for(waits, EVENT_SECONDS)
    posted, status = await outside.post(bench.door.routes[str(process_id)], {"answer": command_id})
    if status != 200:  # noqa: PLR2004 - accepted and durable
        raise RuntimeError(f"a callback was answered {status}; look into the gateway's log")
    await asyncio.wait_for(completed, EVENT_SECONDS)
    return process_id, posted


async def seconds_until(outside: Outside, answered: Answered, clock: str) -> float:
    """Seconds from posting a callback to the step that wrote `clock` into State."""
    process_id, posted = answered
    return float(await outside.database.fetchval(CLOCK_SQL, process_id, clock)) - posted
