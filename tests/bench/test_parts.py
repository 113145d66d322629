"""The parts of the bench that need no services."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from bench import beside, profile, sampler
from bench.cpu import GENERATOR, CpuMeter, cpu_seconds
from bench.door import ADDRESS, Door, announce
from bench.lines import Lines, median_ms, quantiles
from bench.outside import start_record, wait_until
from bench.workloads import WORKLOADS, chosen
from stepwire.contracts.commands import StartProcess, decode_command, process_id_of

CHILD = "import time\nwhile time.process_time() < 0.5: pass"
BUSY = """
import sys, time
from stepwire.flow.retry import Retry
print("ready", flush=True)
sys.stdin.readline()
end = time.process_time() + 0.5
while time.process_time() < end:
    Retry()
print("worked", flush=True)
sys.stdin.read()
"""
PARENT = f"""
import subprocess, sys
sys.stdin.readline()
subprocess.run([sys.executable, "-c", {CHILD!r}])
print("done", flush=True)
sys.stdin.read()
"""


def test_quantiles_are_measured_values() -> None:
    """Half of two hundred values is the hundredth, and the 99th percentile leaves two above."""
    seconds = [number / 1000 for number in range(200, 0, -1)]
    assert quantiles(seconds) == {"p50_ms": 100.0, "p95_ms": 190.0, "p99_ms": 198.0}
    assert quantiles([0.0042]) == {"p50_ms": 4.2, "p95_ms": 4.2, "p99_ms": 4.2}
    assert median_ms([0.001, 0.002]) == 1.5


def test_a_line_says_what_it_was_measured_on(capsys: pytest.CaptureFixture[str]) -> None:
    """One line of JSON with workload, n, cpus, load and versions beside the numbers."""
    Lines({"kafka": "4.1.0"}).show("w2", 200, {"transport": "kafka", "p50_ms": 11.5})
    (printed,) = capsys.readouterr().out.splitlines()
    line = orjson.loads(printed)
    assert {"workload": "w2", "n": 200, "transport": "kafka", "p50_ms": 11.5}.items() <= line.items()
    assert {"cpus", "load1", "versions"} <= set(line)
    assert set(line["versions"]) == {"kafka", "python"}


def test_another_engine_is_compared_by_medians() -> None:
    """Ours by Kafka and by HTTP are both held against the one way in that the other engine has."""
    ours = {"w2_kafka": [0.010, 0.012, 0.014], "w2_http": [0.015], "w3_validation": [0.006], "w3": [0.009]}
    compared = beside.compare(ours, {"w2": [0.012], "w3": [0.006]})
    assert compared["stepwire_p50_ms"] == {"w2_kafka": 12.0, "w2_http": 15.0, "w3_validation": 6.0, "w3": 9.0}
    assert compared["dbos_p50_ms"] == {"w2": 12.0, "w3": 6.0}
    assert compared["ratio"] == {"w2_kafka": 1.0, "w2_http": 1.25, "w3_validation": 1.0, "w3": 1.5}


def test_some_workloads_can_be_chosen() -> None:
    """Nothing chosen is all; a name that is none is told with those there are."""
    assert list(chosen("")) == list(WORKLOADS)
    assert list(chosen("w2, w1")) == ["w2", "w1"]
    with pytest.raises(ValueError, match="no workload w9; there are w1, w2, w3, w4, idle"):
        chosen("w9")


async def test_a_route_comes_through_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step announces in another thread is there when the announcement returns."""
    async with Door() as door:
        monkeypatch.setenv(ADDRESS, door.address)
        await asyncio.gather(*(asyncio.to_thread(announce, f"p{number}", f"/api/{number}") for number in range(20)))
        assert door.routes == {f"p{number}": f"/api/{number}" for number in range(20)}


def test_cpu_of_ended_children_counts() -> None:
    """A backend of PostgreSQL that ended has used its time all the same."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        meter = CpuMeter({"parent": parent.pid})
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(b"\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == b"done\n"
        assert meter.seconds()["parent"] >= 0.4


def test_the_generator_is_counted_too() -> None:
    """The bench's own CPU is part of the line."""
    meter = CpuMeter({})
    assert set(meter.seconds()) == {GENERATOR}
    assert cpu_seconds(os.getpid()) > 0
    assert meter.percent_of_one_core([GENERATOR]) >= 0


def test_a_start_record_is_a_command() -> None:
    """Key and value are what the contract asks of senders."""
    key, value = start_record("bench_five", "w1-1")
    command = decode_command(value)
    assert isinstance(command, StartProcess)
    assert (command.workflow, command.command_id) == ("bench_five", "w1-1")
    assert key == str(process_id_of("w1-1")).encode()


async def test_waiting_has_an_end() -> None:
    """What does not come is told instead of waited for."""

    async def never() -> bool:
        return False

    with pytest.raises(TimeoutError, match="in vain: the moon"):
        await wait_until(never, "the moon", 0.01)


def test_a_profile_is_made_of_a_running_program(tmp_path: Path) -> None:
    """The sampler loads by itself, counts the program's stacks, and writes them when it ends."""
    environment = {**os.environ, **profile.environment(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as busy:
        assert busy.stdout is not None
        assert busy.stdin is not None
        assert busy.stdout.readline() == b"ready\n"
        busy.send_signal(sampler.BEGIN)
        busy.stdin.write(b"\n")
        busy.stdin.flush()
        assert busy.stdout.readline() == b"worked\n"
        busy.send_signal(sampler.WRITE)
        profile.show(tmp_path)
    samples = [(stack, count) for stack, count in orjson.loads((tmp_path / "samples.json").read_bytes())]
    inclusive = dict(profile.shares(samples, profile.inclusive_ours))
    assert any(name.startswith("stepwire.flow.retry:") for name in inclusive)


def test_shares_are_of_all_samples() -> None:
    """Our functions count with all they call, once even if they call themselves; leaves by package."""
    samples = [(["orjson:dumps", "stepwire.a:f", "stepwire.a:f"], 3), (["asyncio.events:run", "stepwire.b:g"], 1)]
    assert profile.shares(samples, profile.inclusive_ours) == [("stepwire.a:f", 0.75), ("stepwire.b:g", 0.25)]
    assert profile.shares(samples, profile.innermost_ours) == [
        ("stepwire.a:f -> orjson", 0.75),
        ("stepwire.b:g -> asyncio", 0.25),
    ]
    assert profile.shares(samples, profile.leaf_module) == [("orjson", 0.75), ("asyncio", 0.25)]
