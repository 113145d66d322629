"""PostgreSQL and Kafka that are killed, restarted, wiped, and not there yet."""

from __future__ import annotations

import asyncio
import shutil
import signal
from typing import Any
from uuid import UUID

import httpx
import pytest

from stepwire.chassis.kafka import create_topics
from stepwire_cli.services import Service
from tests.faults.conftest import HTTP_SECONDS
from tests.faults.proofs import assert_effects_once
from tests.faults.scene import Scene
from tests.faults.workflows.flows import ASKS_OUTSIDE, CALLS_BACK
from tests.support.waiting import wait_for

MANY = 24
FEW = 6
RESTARTS = 2
LAST = 60
RECOVERY_SECONDS = 90.0
AWAITING = "SELECT count(*) FROM stepwire_engine.processes WHERE process_id = ANY(%s) AND status = 'awaiting_callback'"


@pytest.fixture
def scene(servers: Scene) -> Scene:
    """The stack whose servers may be disturbed."""
    return servers


def in_all_states(scene: Scene) -> list[UUID]:
    """Processes that have just begun, that are in a step, that await a callback."""
    scene.outside.gate("outside", all_wait=True)
    awaiting = scene.start_over_http("calls_back", FEW)
    wait_for(lambda: scene.sql(AWAITING, awaiting) == [(FEW,)], what="all awaiting")
    in_steps = scene.start_over_http("asks_outside", FEW)
    wait_for(lambda: all(scene.outside.asked_for("outside", each) for each in in_steps), what="all in steps")
    return awaiting + in_steps + scene.start_over_http("calls_back", FEW)


def assert_all_end_once(scene: Scene, ids: list[UUID]) -> None:
    """Those of `in_all_states` finish, once what they ordered before is answered; each effect is there once."""
    for asked in list(scene.outside.log):
        if asked.what == "order" and asked.process_id in ids:
            scene.call_back(asked)
    scene.wait(ids, seconds=RECOVERY_SECONDS)
    assert_effects_once(scene.sql, ids[:FEW] + ids[2 * FEW :], CALLS_BACK)
    assert_effects_once(scene.sql, ids[FEW : 2 * FEW], ASKS_OUTSIDE)


def test_30_postgresql_killed_and_restarted_under_load(scene: Scene) -> None:
    """No service ends, nothing is lost or done twice, and everything finishes by itself."""
    scene.answer_orders()
    ids = scene.start_over_http("calls_back", MANY)
    with scene.all_survive():
        for _ in range(RESTARTS):
            scene.postgres.kill()
            scene.postgres.start()
            ids += scene.start_over_http("calls_back", MANY)
        scene.wait(ids, seconds=RECOVERY_SECONDS)
    assert_effects_once(scene.sql, ids, CALLS_BACK)


def test_27_33_kafka_killed_and_restarted_under_load(scene: Scene) -> None:
    """Starts and callbacks over HTTP are taken while it is away, and everything finishes once."""
    ids = scene.start_over_http("calls_back", FEW)
    wait_for(lambda: scene.sql(AWAITING, ids) == [(FEW,)], what="all awaiting")
    with scene.all_survive():
        more = scene.start_over_http("calls_back", MANY)
        scene.kafka.kill()
        assert [scene.call_back(scene.outside.asked_for("order", each)[0]).status_code for each in ids] == [200] * FEW
        more += scene.start_over_http("calls_back", FEW)
        scene.answer_orders()
        scene.kafka.start()
        for asked in list(scene.outside.log):
            if asked.what == "order" and asked.process_id in more:
                scene.call_back(asked)
        scene.wait(ids + more, seconds=RECOVERY_SECONDS)
    assert_effects_once(scene.sql, ids + more, CALLS_BACK)


def test_34_kafka_wiped_with_processes_under_way(scene: Scene) -> None:
    """What PostgreSQL knows finishes: processes in steps, at callbacks and at their beginning."""
    ids = in_all_states(scene)
    scene.kafka.kill()
    shutil.rmtree(scene.stack.folder / "kafka" / "data")
    scene.kafka.start()
    asyncio.run(create_topics(scene.stack.settings))
    scene.outside.reset()
    scene.answer_orders()
    assert_all_end_once(scene, ids)


def health(service: Service, path: str) -> tuple[int, Any]:
    """What a service says about itself."""
    response = httpx.get(f"{service.url}/health/{path}", timeout=HTTP_SECONDS)
    return response.status_code, response.json()


def reasons(service: Service) -> dict[str, str]:
    """Why a service is not ready."""
    try:
        told: dict[str, str] = health(service, "ready")[1]["reasons"]
    except httpx.TransportError as error:
        # A machine under load may take longer than the client's patience.
        return dict.fromkeys(("database", "kafka"), repr(error))
    return told


def test_services_started_before_their_servers(scene: Scene) -> None:
    """They say which addresses they cannot reach, live but are not ready, and go on when the servers come."""
    services = list(scene.stack.services.values())
    for service in services:
        assert service.stop() == 0, "\n".join(service.lines[-LAST:])
    scene.postgres.kill()
    scene.kafka.kill()
    marks = {service.name: len(service.lines) for service in services}
    for service in services:
        service.start()
    for service in services:
        for address in (f"database at 127.0.0.1:{scene.postgres.port}", f"kafka at {scene.kafka.bootstrap}"):
            service.wait_output(f"Cannot reach {address}", since=marks[service.name])
        assert health(service, "live")[0] == httpx.codes.OK
        assert health(service, "ready")[0] == httpx.codes.SERVICE_UNAVAILABLE
    scene.postgres.start()
    for service in services:
        wait_for(lambda s=service: "database" not in reasons(s), what="the database")  # type: ignore[misc]
        assert "kafka" in reasons(service)
    scene.kafka.start()
    scene.wait_ready()
    scene.answer_orders()
    ids = scene.start_over_http("calls_back", FEW)
    scene.wait(ids)
    assert_effects_once(scene.sql, ids, CALLS_BACK)


def test_services_told_to_stop_while_kafka_is_away(scene: Scene) -> None:
    """They drain and end in order; what was under way goes on when they and Kafka are back."""
    ids = in_all_states(scene)
    scene.kafka.kill()
    scene.outside.reset()
    services = list(scene.stack.services.values())
    for service in services:
        service.wanted = False
        service.signal(signal.SIGTERM)
    for service in services:
        assert service.wait_end() == 0, "\n".join(service.lines[-LAST:])
    scene.kafka.start()
    scene.answer_orders()
    for service in services:
        service.start()
    scene.wait_ready()
    assert_all_end_once(scene, ids)


def test_services_whose_port_is_taken(scene: Scene) -> None:
    """They say so and exit with 3."""
    for kind in ("coordinator", "executor", "gateway"):
        taken = scene.service(f"{kind}-1")
        twin = Service(f"{kind}-twin", kind, taken.environment, port=0, output=lambda _name, _line: None)
        twin.start(port=int(taken.url.rpartition(":")[2]))
        assert twin.wait_end() == 3
        assert any("the port is taken" in line for line in twin.lines)
