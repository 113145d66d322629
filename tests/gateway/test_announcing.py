"""How coordinators learn of callbacks that lie in the inbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from stepwire.chassis.kafka import Outgoing
from stepwire.contracts import topics
from stepwire.contracts.base import encode
from stepwire.contracts.callbacks import CallbackReceived
from stepwire.data import inbox
from stepwire.data.inbox import CALLBACKS_CHANNEL
from stepwire_gateway import announcing
from stepwire_gateway.announcing import Announcer
from stepwire_gateway.background import Background
from stepwire_gateway.database import Database
from tests.gateway import workflows
from tests.gateway.stage import WAIT_SECONDS, Stage, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = {"serial": "X1"}


@asynccontextmanager
async def hearing(stage: Stage) -> AsyncIterator[set[str]]:
    """The process ids of notifications, as a coordinator hears them."""
    heard: set[str] = set()
    async with stage.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.add_listener(CALLBACKS_CHANNEL, lambda *sent: heard.update(sent[-1].split()))
        yield heard


def recorded(stage: Stage) -> set[str]:
    """The processes whose callbacks are on the topic."""
    return {record["process_id"] for record in stage.callbacks}


def make_announcer(stage: Stage, background: Background, *, stopping: bool = False) -> Announcer:
    """An announcer on the stage's database and Kafka."""
    told = asyncio.Event()
    if stopping:
        told.set()
    return Announcer(Database(stage.engine), stage.producer, background, told)


def announce(stage: Stage, announcer: Announcer, *, filler: str = "") -> str:
    """Announce a callback; returns its process."""
    record = CallbackReceived(source="http", process_id=uuid4(), token="t", payload={"filler": filler})
    process_id = str(record.process_id)
    outgoing = Outgoing(stage.settings.topic(topics.CALLBACKS), encode(record), process_id.encode())
    announcer.announce(process_id, outgoing)
    return process_id


async def test_accepted_callbacks_are_notified_and_recorded(stage: Stage) -> None:
    """Many at once as one alone: each is heard of, and each has its record."""
    manifest = await stage.offer(workflows.with_callback())
    waiting = [await stage.process(manifest, status="awaiting_callback", node="4.2") for _ in range(20)]
    async with hearing(stage) as heard:
        posts = (stage.http.post(stage.route(process_id), json=BODY) for process_id in waiting)
        assert {response.status_code for response in await asyncio.gather(*posts)} == {200}
        await until(lambda: heard == {str(process_id) for process_id in waiting})
        await until(lambda: recorded(stage) == {str(process_id) for process_id in waiting})


async def test_more_than_fit_into_one_notification_are_all_told(stage: Stage) -> None:
    """A notification has room for some 200 processes."""
    announcer = make_announcer(stage, Background())
    async with hearing(stage) as heard:
        announced = {announce(stage, announcer) for _ in range(450)}
        await until(lambda: heard == announced)
        await until(lambda: recorded(stage) == announced)


async def test_one_record_too_large_keeps_no_other_from_being_sent(stage: Stage) -> None:
    """It is told by the database alone."""
    announcer = make_announcer(stage, Background())
    async with hearing(stage) as heard:
        good = {announce(stage, announcer)}
        large = announce(stage, announcer, filler="x" * stage.settings.max_message_bytes)
        good.add(announce(stage, announcer))
        await until(lambda: heard == good | {large})
        await until(lambda: recorded(stage) == good)


async def test_without_the_database_records_tell_alone(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It went away between the row and the notification; when it is back, both tell again."""
    announcer = make_announcer(stage, Background())

    async def lose(*_: object) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as broken:
        broken.setattr(inbox, "announce", lose)
        lost = announce(stage, announcer)
        await until(lambda: recorded(stage) == {lost})
    async with hearing(stage) as heard:
        later = announce(stage, announcer)
        await until(lambda: heard == {later})
        await until(lambda: recorded(stage) == {lost, later})


async def test_a_gateway_that_stops_gathers_no_more(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is announced last is sent before the end."""
    monkeypatch.setattr(announcing, "GATHER_SECONDS", 3600.0)
    background = Background()
    announced = announce(stage, make_announcer(stage, background, stopping=True))
    await background.drain(WAIT_SECONDS)
    await until(lambda: recorded(stage) == {announced})
