"""The workloads, each against services just started."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer

from bench import reading
from bench.harness import SERVICES, Bench
from bench.lines import median_ms, quantiles
from bench.outside import Events, Outside, start_record
from bench.runs import COMPLETED_SQL, STARTS, let_wait, run_burst, run_callback, run_one, seconds_until
from bench.workflows import BIG_STEPS
from stepwire.contracts.topics import PROCESS_EVENTS

W1_PROCESSES = 4000
W1_STEPS = 5
RUNS = 200
WARM_UP_BURST = 4000
# So many until Java's second compiler has nothing left to do; half as many and a broker takes twice the CPU meanwhile.
WARM_UP = 1000
WAITING = 2000
BIG_RUNS = 20
IDLE_WAITING = 100
IDLE_SECONDS = 60.0
SETTLE_SECONDS = 5.0

STEPS_SQL = """
    SELECT count(*) FROM stepwire_engine.process_steps
    WHERE status = 'success' AND name IN ('One', 'Two', 'Three', 'Four', 'Five')
"""
SPAN_SQL = """
    SELECT extract(epoch FROM max(completed_at) - min(started_at))::float8 FROM stepwire_engine.process_steps
    WHERE process_id = $1 AND name = ANY($2)
"""


async def w1(bench: Bench) -> None:
    """Thousands of processes of five trivial steps, as fast as possible."""
    records = [start_record("bench_five", f"w1-{number}") for number in range(W1_PROCESSES)]
    async with bench.outside() as outside:
        await run_burst(outside, WARM_UP_BURST)
        already = await outside.count(COMPLETED_SQL), await outside.count(STEPS_SQL)
        meter, began = bench.meter(), time.time()
        await outside.publish(records)
        sent = time.time()
        await outside.wait_for_count(already[0] + W1_PROCESSES, COMPLETED_SQL)
        counted, cpu = time.time(), meter.seconds()
        created, completed = await _last_events(outside, began)
        took = max(counted, completed) - began
        steps = await outside.count(STEPS_SQL) - already[1]
    bench.show(
        "w1",
        W1_PROCESSES,
        {
            "processes_per_s": round(W1_PROCESSES / took, 1),
            "steps_per_s": round(steps / took, 1),
            "start_per_s": round(W1_PROCESSES / (created - began), 1),
            "seconds": round(took, 3),
            "publish_s": round(sent - began, 3),
            "steps": steps,
            "cpu_s": cpu,
        },
    )


async def w2(bench: Bench) -> None:
    """The same one at a time: from publishing the command to seeing its completed event."""
    async with bench.outside() as outside, Events(outside.bootstrap) as events:
        await run_burst(outside, WARM_UP_BURST)
        for transport, start in STARTS.items():
            for run in range(WARM_UP):
                await run_one(outside, events, start, f"w2-{transport}-warm-{run}")
            meter = bench.meter()
            taken = [await run_one(outside, events, start, f"w2-{transport}-{run}") for run in range(RUNS)]
            cpu = meter.milliseconds_each(RUNS)
            bench.show("w2", RUNS, {"transport": transport, **quantiles(taken), "cpu_ms": cpu, "warm_up": WARM_UP})
        await outside.wait_for_count(WARM_UP_BURST + 2 * (WARM_UP + RUNS), COMPLETED_SQL)


async def w3(bench: Bench) -> None:
    """A callback posted over HTTP until the next step runs, alone and beside many waiting processes.

    More processes than will wait run to their end first: memory that any burst of starts leaves behind in an
    interpreter is not what waiting costs.
    """
    async with bench.outside() as outside, Events(outside.bootstrap) as events:
        await run_burst(outside, WARM_UP_BURST)
        for waiting in (0, WAITING):
            await let_wait(outside, waiting)
            found = await _callbacks(bench, outside, events, waiting)
            bench.show("w3", RUNS, {"waiting": waiting, **found, "warm_up": WARM_UP})


async def w4(bench: Bench) -> None:
    """Many steps with a big State: do the last cost more than the first, and a callback after them?"""
    first = ["Big", *(f"Small {number}" for number in range(2, 21))]
    last = [f"Small {number}" for number in range(BIG_STEPS - 19, BIG_STEPS + 1)]
    async with bench.outside() as outside, Events(outside.bootstrap) as events:
        await run_burst(outside, WARM_UP_BURST)
        for run in range(WARM_UP):
            await run_callback(bench, outside, events, "bench_callback", f"w4-warm-{run}")
        answered = [await run_callback(bench, outside, events, "bench_big", f"w4-{run}") for run in range(BIG_RUNS)]
        spans = {
            f"{word}20_ms": median_ms([await outside.database.fetchval(SPAN_SQL, each[0], names) for each in answered])
            for word, names in (("first", first), ("last", last))
        }
        taken = [await seconds_until(outside, each, "ran_at") for each in answered]
    bench.show("w4", BIG_RUNS, {**spans, "callback_p50_ms": median_ms(taken), "warm_up": WARM_UP})


async def idle(bench: Bench) -> None:
    """What doing nothing costs while processes wait."""
    async with bench.outside() as outside:
        await let_wait(outside, IDLE_WAITING)
        await asyncio.sleep(SETTLE_SECONDS)
        meter = bench.meter()
        await asyncio.sleep(IDLE_SECONDS)
        share = {name: meter.percent_of_one_core([name]) for name in (*SERVICES, "kafka", "postgres")}
        percent = meter.percent_of_one_core(SERVICES)
    bench.show("idle", IDLE_WAITING, {"cpu_percent": percent, "by_service": share})


WORKLOADS: dict[str, Callable[[Bench], Awaitable[None]]] = {
    "w1": w1,
    "w2": w2,
    "w3": w3,
    "w4": w4,
    "idle": idle,
    "list": reading.lists,
    "sse": reading.follow,
}


async def _last_events(outside: Outside, since: float) -> tuple[float, float]:
    """Return when (Kafka's record time) the last created and the last completed event of w1 were published."""
    consumer = AIOKafkaConsumer(
        PROCESS_EVENTS,
        bootstrap_servers=outside.bootstrap,
        group_id=None,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        times = await _event_times(consumer)
    finally:
        await consumer.stop()
    created, completed = ([at for at in times[word].values() if at >= since] for word in ("created", "completed"))
    if len(created) != W1_PROCESSES or len(completed) != W1_PROCESSES:
        raise RuntimeError(f"{len(created)} created and {len(completed)} completed events for {W1_PROCESSES} processes")
    return max(created), max(completed)


async def _event_times(consumer: AIOKafkaConsumer) -> dict[str, dict[str, float]]:
    """Record times of events by id: delivery may repeat one, the id is the same then."""
    times: dict[str, dict[str, float]] = {"created": {}, "completed": {}}
    ends = await consumer.end_offsets(consumer.assignment())
    while any([await consumer.position(partition) < end for partition, end in ends.items()]):
        for records in (await consumer.getmany(timeout_ms=1000)).values():
            for record in records:
                event = orjson.loads(record.value)
                found = times.get(event["type"].removeprefix("stepwire.process."))
                if found is not None:
                    found[event["id"]] = record.timestamp / 1000
    return times


async def _callbacks(bench: Bench, outside: Outside, events: Events, waiting: int) -> dict[str, Any]:
    for run in range(WARM_UP):
        await run_callback(bench, outside, events, "bench_callback", f"w3-{waiting}-warm-{run}")
    meter = bench.meter()
    measured = [
        await run_callback(bench, outside, events, "bench_callback", f"w3-{waiting}-{run}") for run in range(RUNS)
    ]
    cpu = meter.milliseconds_each(RUNS)
    taken = [await seconds_until(outside, each, "ran_at") for each in measured]
    validation = [await seconds_until(outside, each, "checked_at") for each in measured]
    return {**quantiles(taken), "validation_p50_ms": median_ms(validation), "cpu_ms": cpu, "rss_mb": bench.rss()}


def chosen(only: str) -> Sequence[str]:
    """Return the names of the workloads to run; all of them for an empty text.

    Raises:
        ValueError: there is no such workload.
    """
    names = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := [name for name in names if name not in WORKLOADS]:
        raise ValueError(f"no workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    return names or list(WORKLOADS)
