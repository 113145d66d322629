"""What a workload gets: services just started with their defaults, and a generator outside of them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
import uvloop

from bench import profile, sampler
from bench.cpu import CpuMeter, rss_megabytes
from bench.door import ADDRESS, Door
from bench.lines import Lines
from bench.outside import Outside
from stepwire_cli.backends.jars import COORDINATES
from stepwire_cli.stack import Stack

# Both of Java's compilers, as brokers have them outside of a laptop; a stack for developers makes do with the first.
KAFKA_OPTIONS = ("-XX:TieredStopAtLevel=4",)
SERVICES = ("coordinator", "executor", "gateway")
KAFKA = next(name for name in COORDINATES if ":kafka-clients:" in name)


class Bench:
    """One stack under measurement."""

    def __init__(self, stack: Stack, door: Door) -> None:
        self.door = door
        self._stack = stack
        self._lines = Lines(_versions(stack.database_url))

    @asynccontextmanager
    async def outside(self) -> AsyncIterator[Outside]:
        """Connect the generator."""
        stack = self._stack
        async with Outside(stack.kafka_bootstrap, stack.gateway_url, stack.database_url) as outside:
            yield outside

    def meter(self) -> CpuMeter:
        """Begin to count CPU seconds."""
        return CpuMeter(self._pids())

    def rss(self) -> dict[str, float]:
        """Resident megabytes of each of our services."""
        pids = self._pids()
        return {name: round(rss_megabytes(pids[name]), 1) for name in SERVICES}

    def show(self, workload: str, n: int, values: Mapping[str, Any]) -> None:
        """Print the line of a workload."""
        self._lines.show(workload, n, values)

    def _pids(self) -> dict[str, int]:
        servers = {"kafka": self._stack.kafka, "postgres": self._stack.postgres}
        pids = {name: server.pid for name, server in servers.items() if server is not None}
        return {service.kind: service.pid for service in self._stack.services.values()} | pids


Workload = Callable[[Bench], Awaitable[None]]


def measure(workload: Workload, profiled: str = "") -> None:
    """Run one workload against a stack of its own, in a fresh folder; logs are written and read, and thrown away.

    The service of the kind `profiled` is looked at meanwhile, which costs it a little.
    """
    door = Door()
    own = {"STEPWIRE_WORKFLOWS": "bench.workflows", ADDRESS: door.address}
    with tempfile.TemporaryDirectory(prefix="stepwire-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        looked_at = {profiled: profile.environment(folder)} if profiled else {}
        with Stack(
            folder, kafka_options=KAFKA_OPTIONS, environment=own, service_environment=looked_at, restart=False
        ) as stack:
            if profiled:
                stack.kill(f"{profiled}-1", sampler.BEGIN)
            # The loop of the services: what the generator itself takes is in everything it measures.
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_measure(workload, stack, door))
            if profiled:
                stack.kill(f"{profiled}-1", sampler.WRITE)
                profile.show(folder)


async def _measure(workload: Workload, stack: Stack, door: Door) -> None:
    async with door:
        await workload(Bench(stack, door))


def _versions(database_url: str) -> dict[str, str]:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    postgres = str(row[0]) if row else "unknown"
    return {"stepwire": version("stepwire"), "postgres": postgres, "kafka": KAFKA.rpartition(":")[2]}
