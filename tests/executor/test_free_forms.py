"""Forms that stand by themselves: offered at the start, asked by gateways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest
from sqlalchemy import text

from stepwire import FormPage, State, register_form
from stepwire.chassis.kafka import Outgoing
from stepwire.contracts.base import encode
from stepwire.contracts.forms import FormRequest
from stepwire.data import db
from stepwire.data.forms import form_keys, queue_of_form
from stepwire_executor import checks
from tests.executor import flows
from tests.executor.harness import Harness
from tests.executor.test_forms import ask


class Interval(FormPage):
    """The first page."""

    interval: str


class Minute(FormPage):
    """The second page."""

    at_minute: int


@register_form("executor.schedule")
def schedule(form_key: str, reporter: str) -> Generator[type[FormPage], Any, State]:
    """Ask in two pages, reading the database between them."""
    interval = yield Interval
    effects = db.session.execute(text("SELECT count(*) FROM effects WHERE node = 'nowhere'")).scalar_one()
    minute = yield Minute
    return {**interval.model_dump(), **minute.model_dump(), "effects": effects, "asked": [form_key, reporter]}


@register_form("executor.later", queue="gpu")
async def later(state: State) -> AsyncGenerator[Any, Any]:
    """Ask asynchronously, and write what is not kept."""
    page = yield Interval
    session = await db.session.connection()
    await session.execute(text("INSERT INTO effects (label) VALUES ('by a form')"))
    yield {**page.model_dump(), **state}


@register_form("executor.fruitless")
def fruitless(state: State) -> Generator[type[FormPage], Any, Any]:
    """Return what the page says."""
    page = yield Interval
    assert state["reporter"] == "stepwire/gateway"
    return {"too large": {"a": "x" * 5_000_000}, "no JSON": {"a": object()}, "no dict": 7}[page.interval]


@register_form("executor.hangs")
def hangs(state: State) -> Generator[type[FormPage], Any, Any]:
    """Wait for the test."""
    flows.gates["form"].wait(60)
    yield Interval
    return {}


@register_form("executor.hangs_async")
async def hangs_async(state: State) -> AsyncGenerator[Any, Any]:
    """Wait for ever, and tell when it is cancelled."""
    try:
        await asyncio.sleep(3600)
    finally:
        flows.gates["async form"].set()
    yield Interval


FORM = {"kind": "form", "workflow": "", "source": "stepwire/gateway"}


async def test_the_forms_of_an_executor_are_offered(harness: Harness) -> None:
    """Keys and queues are in PostgreSQL before it answers, and its row says what it serves."""
    async with harness.executor(), harness.tail("forms.replies") as replies:
        await ask(harness, replies, **FORM, form_key="executor.schedule")
        async with harness.engine.connect() as connection:
            keys = [key for key in await form_keys(connection) if key.startswith("executor.")]
            queues = [await queue_of_form(connection, key) for key in keys]
            assert await queue_of_form(connection, "nothing") is None
        assert dict(zip(keys, queues, strict=True)) == {
            "executor.fruitless": "default",
            "executor.hangs": "default",
            "executor.hangs_async": "default",
            "executor.later": "gpu",
            "executor.schedule": "default",
        }
        ((served,),) = await harness.sql(
            "SELECT forms FROM stepwire_engine.executors WHERE ended_at IS NULL AND NOT draining"
        )
        assert set(keys) <= set(served)


async def test_the_pages_of_a_form_get_their_verdict(harness: Harness) -> None:
    """As those of a start; what a complete form returns goes with it."""
    form = {**FORM, "form_key": "executor.schedule", "reporter": "jane"}
    pages = [{"interval": "hourly"}, {"at_minute": 15}]
    async with harness.executor(), harness.tail("forms.replies") as replies:
        first = await ask(harness, replies, **form)
        second = await ask(harness, replies, **form, user_inputs=pages[:1])
        complete = await ask(harness, replies, **form, user_inputs=pages)
        invalid = await ask(harness, replies, **form, user_inputs=[{"interval": 1}])
        unserved = await ask(harness, replies, **{**form, "form_key": "executor.nothing"})
    assert (first.verdict, "interval" in first.form["properties"]) == ("next_page", True)  # type: ignore[index]
    assert (second.verdict, "at_minute" in second.form["properties"]) == ("next_page", True)  # type: ignore[index]
    told = {"interval": "hourly", "at_minute": 15, "effects": 0, "asked": ["executor.schedule", "jane"]}
    assert (complete.verdict, complete.result) == ("complete", told)
    assert (invalid.verdict, invalid.errors[0]["loc"], invalid.result) == ("invalid", ["interval"], None)
    assert (unserved.verdict, unserved.detail) == ("unserved", "form 'executor.nothing' is not served here")


async def test_a_form_may_be_async_and_changes_nothing(harness: Harness) -> None:
    """It runs on the loop for steps; what it writes is rolled back."""
    form = {**FORM, "form_key": "executor.later"}
    async with harness.executor(), harness.tail("forms.replies") as replies:
        complete = await ask(harness, replies, **form, user_inputs=[{"interval": "daily"}])
    told = {"interval": "daily", "form_key": "executor.later", "reporter": "stepwire/gateway"}
    assert (complete.verdict, complete.result) == ("complete", told)
    assert await harness.sql("SELECT 1 FROM effects WHERE label = 'by a form'") == []


@pytest.mark.parametrize(
    ("interval", "detail"),
    [("too large", "what the form says is too large"), ("no JSON", "form['a']"), ("no dict", "return a dict")],
)
async def test_a_result_that_cannot_be_told(harness: Harness, interval: str, detail: str) -> None:
    """Its sender is told why instead of waiting in vain."""
    form = {**FORM, "form_key": "executor.fruitless"}
    async with harness.executor(), harness.tail("forms.replies") as replies:
        failed = await ask(harness, replies, **form, user_inputs=[{"interval": interval}])
    assert (failed.verdict, detail in (failed.detail or ""), failed.result) == ("failed", True, None)


async def test_the_result_of_a_start_form_is_not_told(harness: Harness) -> None:
    """It is the process's own."""
    async with harness.executor(), harness.tail("forms.replies") as replies:
        complete = await ask(harness, replies, user_inputs=[{"product": "earth"}, {"size": 3}])
    assert (complete.verdict, complete.result) == ("complete", None)


async def test_forms_that_hang_do_not_keep_others_from_being_asked(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are given up when nobody waits any more, and count as stuck threads when they never end."""
    monkeypatch.setattr(checks, "HANGS_SECONDS", 0.0)
    topic = harness.settings.topic("forms.requests")
    async with harness.executor(executor_threads=40) as executor, harness.tail("forms.replies") as replies:
        for key in ("executor.hangs", "executor.hangs_async"):
            requests = [FormRequest(gateway="g1", form_key=key, deadline_seconds=2, **FORM) for _ in range(16)]
            await harness.producer.send_all([Outgoing(topic, encode(request), b"g1") for request in requests])
            reply = await ask(harness, replies, **FORM, form_key="executor.schedule", deadline_seconds=30)
            assert reply.verdict == "next_page"
        await harness.until(lambda: executor.rooms.threads.stuck > 0 and flows.gates["async form"].is_set())
        flows.gates["form"].set()
        await harness.until(lambda: executor.rooms.threads.stuck == 0)
