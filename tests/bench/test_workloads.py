"""Every workload against real services, with small numbers: the lines have the shape that was promised."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench import reading, workloads
from bench.door import ADDRESS, Door
from bench.harness import Bench
from stepwire_cli.stack import Stack
from tests.support.backends import server_folder

SMALL = {
    "W1_PROCESSES": 40,
    "RUNS": 5,
    "WARM_UP": 2,
    "WARM_UP_BURST": 10,
    "WAITING": 10,
    "BIG_RUNS": 2,
    "IDLE_WAITING": 5,
}
COMMON = {"workload", "n", "cpus", "load1", "versions"}
QUANTILES = {"p50_ms", "p95_ms", "p99_ms"}
SERVICES = {"coordinator", "executor", "gateway"}


@pytest.fixture
def door() -> Door:
    """Where the workloads' actions tell their routes."""
    return Door()


@pytest.fixture
def stack(door: Door) -> Iterator[Stack]:
    """A stack of the bench, as `make bench` starts it."""
    with server_folder() as folder:
        environment = {"STEPWIRE_WORKFLOWS": "bench.workflows", ADDRESS: door.address}
        with Stack(Path(folder), environment=environment, restart=False) as started:
            yield started


async def run_all(stack: Stack, door: Door, names: list[str]) -> None:
    """Run workloads one after the other on one stack."""
    async with door:
        for name in names:
            await workloads.WORKLOADS[name](Bench(stack, door))


def lines_of(printed: str) -> dict[str, list[dict[str, Any]]]:
    """The printed lines by workload; each is JSON and says what it was measured on."""
    found: dict[str, list[dict[str, Any]]] = {}
    for text in printed.splitlines():
        line = orjson.loads(text)
        assert set(line) >= COMMON
        found.setdefault(line["workload"], []).append(line)
    return found


def test_every_workload_prints_its_lines(
    stack: Stack, door: Door, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """w1 to w4 and idle run to their end and count what was really done."""
    for name, value in SMALL.items():
        monkeypatch.setattr(workloads, name, value)
    monkeypatch.setattr(workloads, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(workloads, "SETTLE_SECONDS", 0.0)
    asyncio.run(run_all(stack, door, ["w1", "w2", "w3", "w4", "idle"]))
    lines = lines_of(capsys.readouterr().out)
    (w1,) = lines["w1"]
    assert w1["steps"] == 5 * SMALL["W1_PROCESSES"]
    assert set(w1) >= {"processes_per_s", "steps_per_s", "start_per_s"}
    assert set(w1["cpu_s"]) == SERVICES | {"kafka", "postgres", "generator"}
    assert [line["transport"] for line in lines["w2"]] == ["kafka", "http"]
    assert [line["waiting"] for line in lines["w3"]] == [0, SMALL["WAITING"]]
    assert all(set(line) >= QUANTILES for line in [*lines["w2"], *lines["w3"]])
    assert all(set(line["rss_mb"]) == SERVICES for line in lines["w3"])
    (w4,), (idle,) = lines["w4"], lines["idle"]
    assert set(w4) >= {"first20_ms", "last20_ms", "callback_p50_ms"}
    assert idle["cpu_percent"] >= 0


def test_the_workloads_of_those_who_look(
    stack: Stack, door: Door, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every list finds what was inserted, and nobody who follows misses an event."""
    for name, value in {"LISTED": 3000, "LIST_RUNS": 2, "LISTENERS": 20, "FOLLOW_SECONDS": 0.5}.items():
        monkeypatch.setattr(reading, name, value)
    monkeypatch.setattr(reading, "EVENTS_PER_SECOND", 100)
    asyncio.run(run_all(stack, door, ["list", "sse"]))
    lines = lines_of(capsys.readouterr().out)
    assert {line["query"]: line["total"] for line in lines["list"]}["newest"] == 3000
    assert all(line["total"] for line in lines["list"] if line["query"] != "label")
    (sse,) = lines["sse"]
    assert (sse["events"], sse["missed"], sse["missed_by_all"]) == (50, 0, 0)
    assert all(set(line) >= QUANTILES for line in [*lines["list"], sse])
