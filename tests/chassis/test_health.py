"""Health, metrics and the small server that shows them."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest
from prometheus_client import CollectorRegistry

from stepwire.chassis.dependencies import Dependencies, Dependency
from stepwire.chassis.errors import PortTaken, SettingsError
from stepwire.chassis.health import Health, health_app
from stepwire.chassis.metrics import Metrics
from stepwire.chassis.web import WebServer


async def test_a_service_tells_how_it_is() -> None:
    """Live from the start, ready when nothing is wrong, with a reason per dependency; metrics beside it."""
    health, metrics = Health(), Metrics(CollectorRegistry())
    server = WebServer(health_app(health, metrics), host="127.0.0.1", port=0, service="coordinator")
    async with httpx.AsyncClient(base_url=await server.start()) as client:
        health.set("kafka", "no answer")
        answer = await client.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json()["reasons"] == {"kafka": "no answer"}
        assert (await client.get("/health/live")).status_code == 200
        health.set("kafka", None)
        assert (await client.get("/health/ready")).json()["dependencies"] == {"kafka": "ok"}
        metrics.claims_lost.inc()
        assert "stepwire_claims_lost_total 1.0" in (await client.get("/metrics")).text
    await server.stop()


async def test_a_port_that_is_taken_is_named() -> None:
    """The sentence names the port and the setting to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = WebServer(health_app(Health(), None), host="127.0.0.1", port=port, service="executor")
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port}.*STEPWIRE_METRICS_PORT"):
            await server.start()
        await server.stop()


async def test_an_address_of_another_machine_is_no_taken_port() -> None:
    """Another port would not help: the sentence says what is wrong, and names the setting of the address."""
    server = WebServer(health_app(Health(), None), host="192.0.2.1", port=0, service="executor")
    with pytest.raises(SettingsError, match=r"192\.0\.2\.1:0 \(.*\); check STEPWIRE_METRICS_HOST"):
        await server.start()
    await server.stop()


def test_two_services_in_one_process_do_not_share_metrics() -> None:
    """Each has a registry of its own, and the names are those of the documentation."""
    first, second = Metrics(), Metrics()
    first.commands.labels("StartProcess", "accepted").inc()
    assert b'stepwire_commands_total{outcome="accepted",type="StartProcess"} 1.0' in first.render()
    assert b"StartProcess" not in second.render()
    assert b"process_resident_memory_bytes" in first.render()


async def test_the_watch_of_a_dependency_outlives_whatever_is_raised() -> None:
    """A service that no longer looks would never become ready, and never say why."""
    health, asked = Health(), asyncio.Event()
    errors = iter([ValueError("no driver is meant to raise this"), TimeoutError()])

    async def ping() -> None:
        for error in errors:
            raise error
        asked.set()

    watching = asyncio.create_task(Dependencies(health, [Dependency("database", "nowhere:1", ping)]).watch())
    await asked.wait()
    watching.cancel()
    await asyncio.wait([watching])
    assert health.ready
