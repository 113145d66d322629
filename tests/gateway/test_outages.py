"""What the gateway does while PostgreSQL or Kafka are away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from stepwire.chassis.kafka import create_topics
from stepwire.chassis.settings import Settings
from stepwire.data.command_log import COMMANDS_CHANNEL
from tests.gateway import workflows
from tests.gateway.link import Link, linked
from tests.gateway.stage import IMPATIENCE_SECONDS, Stage, open_stage, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = {"serial": "X1"}


@dataclass
class Cut:
    """A gateway whose way to the database can be cut; the test's own stays."""

    stage: Stage
    database: Link
    process_id: UUID


@pytest_asyncio.fixture(loop_scope="module")
async def cut(gateway_settings: Settings) -> AsyncIterator[Cut]:
    """A gateway that reaches PostgreSQL over a link."""
    await create_topics(gateway_settings)
    there = urlsplit(gateway_settings.database_url)
    async with linked(there.hostname or "", there.port or 0) as link:
        url = gateway_settings.database_url.replace(f":{there.port}/", f":{link.port}/")
        settings = gateway_settings.model_copy(update={"database_url": url})
        async with open_stage(settings, own=gateway_settings) as stage:
            manifest = await stage.offer(workflows.with_callback())
            process_id = await stage.process(manifest, status="awaiting_callback", node="4.2")
            yield Cut(stage, link, process_id)


async def test_a_callback_is_taken_by_kafka_while_the_database_is_away(cut: Cut) -> None:
    """202, and the record is on `callbacks`; back again, the database decides."""
    stage, route = cut.stage, cut.stage.route(cut.process_id)
    await cut.database.down()
    response = await stage.http.post(route, json=BODY)
    assert response.status_code == 202
    await until(lambda: [record["payload"] for record in stage.callbacks] == [BODY])
    assert (await stage.http.post(stage.route(uuid4())[:-4] + "AAAA", json=BODY)).status_code == 404
    assert (await stage.http.post(route, content=b"[]")).status_code == 400
    await cut.database.up()
    assert (await stage.http.post(route, json=BODY)).status_code == 200


async def test_without_the_database_everything_else_is_unavailable(cut: Cut) -> None:
    """503 with Retry-After, and nothing fails in another way."""
    stage, path = cut.stage, f"/api/processes/{cut.process_id}"
    await cut.database.down()
    for method, route in (
        ("POST", "/api/processes/any"),
        ("GET", path),
        ("GET", "/api/processes/"),
        ("GET", "/api/processes/status-counts"),
        ("GET", "/api/settings/status"),
        ("GET", "/api/workflows"),
        ("GET", "/api/forms/"),
        ("POST", "/api/forms/any"),
        ("GET", "/api/locks"),
        ("GET", f"/api/subscriptions/{uuid4()}"),
        ("PUT", f"/api/subscriptions/{uuid4()}/set_in_sync"),
        ("DELETE", path),
        ("PUT", f"{path}/resume"),
        ("PUT", f"{path}/abort"),
        ("PUT", "/api/processes/resume-all"),
        ("POST", f"{stage.route(cut.process_id)}/progress"),
    ):
        response = await stage.http.request(method, route)
        assert (response.status_code, response.json()["reason"]) == (503, "database_unavailable"), route
        assert response.headers["retry-after"]
    for route in (path, f"{path}/skip"):
        response = await stage.http.request("PUT" if "skip" in route else "PATCH", route, json={"note": "x"})
        assert response.status_code == 503
    assert (await stage.http.get("/health/live")).status_code == 200


async def test_a_connection_that_died_meanwhile_is_replaced(cut: Cut) -> None:
    """After a restart of the database the first request is served already."""
    stage = cut.stage
    assert (await stage.http.get(f"/api/processes/{cut.process_id}")).status_code == 200
    await cut.database.down()
    await cut.database.up()
    assert (await stage.http.get(f"/api/processes/{cut.process_id}")).status_code == 200


@pytest_asyncio.fixture(loop_scope="module")
async def without_kafka(gateway_settings: Settings) -> AsyncIterator[Stage]:
    """A gateway that reaches no Kafka."""
    async with linked("127.0.0.1", 9, up=False) as link:
        soon = {"accept_wait_seconds": IMPATIENCE_SECONDS, "form_timeout_seconds": IMPATIENCE_SECONDS}
        update = {"kafka_bootstrap": f"127.0.0.1:{link.port}", **soon}
        async with open_stage(gateway_settings.model_copy(update=update), own=gateway_settings) as stage:
            yield stage


async def test_without_kafka_callbacks_are_taken_by_the_database(without_kafka: Stage) -> None:
    """200: the record is a wake-up only."""
    stage = without_kafka
    manifest = await stage.offer(workflows.with_callback())
    process_id = await stage.process(manifest, status="awaiting_callback", node="4.2")
    assert (await stage.http.post(stage.route(process_id), json=BODY)).status_code == 200


async def test_without_kafka_a_command_is_announced_by_the_database(without_kafka: Stage) -> None:
    """The row is there, a NOTIFY goes out, and the answer is found by looking."""
    stage = without_kafka
    manifest = await stage.offer(workflows.plain())
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with stage.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.add_listener(COMMANDS_CHANNEL, lambda *_: heard.put_nowait("notified"))
        headers = {"Idempotency-Key": "by-database"}
        posting = asyncio.create_task(stage.http.post(f"/api/processes/{manifest.workflow}", json=[], headers=headers))
        async with asyncio.timeout(20):
            assert await heard.get() == "notified"
        assert (await posting).status_code == 202
    await stage.sql(
        "UPDATE stepwire_engine.commands SET status = 'accepted', answer = '{}' WHERE command_id = 'by-database'"
    )
    response = await stage.http.post(f"/api/processes/{manifest.workflow}", json=[], headers=headers)
    assert response.status_code == 201


async def test_without_kafka_forms_and_progress_are_unavailable(without_kafka: Stage) -> None:
    """Both need somebody to hear them."""
    stage = without_kafka
    manifest = await stage.offer(workflows.with_form())
    awaiting = await stage.offer(workflows.with_callback())
    process_id = await stage.process(awaiting, status="awaiting_callback", node="4.2")
    form, progress = await asyncio.gather(
        stage.http.post(f"/api/processes/{manifest.workflow}", json=[{}]),
        stage.http.post(f"{stage.route(process_id)}/progress", content=b"50 %"),
    )
    for response in (form, progress):
        assert (response.status_code, response.json()["reason"]) == (503, "kafka_unavailable")
        assert response.headers["retry-after"]


async def test_with_both_away_a_callback_is_to_be_sent_again(gateway_settings: Settings) -> None:
    """503 with Retry-After: it is nowhere."""
    async with linked("127.0.0.1", 9, up=False) as nowhere:
        address = f"127.0.0.1:{nowhere.port}"
        update = {"database_url": f"postgresql://stepwire@{address}/none", "kafka_bootstrap": address}
        async with open_stage(gateway_settings.model_copy(update=update), own=gateway_settings) as stage:
            response = await stage.http.post(stage.route(uuid4()), json=BODY)
    assert (response.status_code, response.json()["reason"]) == (503, "unavailable")
    assert response.headers["retry-after"]
