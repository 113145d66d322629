"""Records the gateway cannot read harm nothing behind them."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from stepwire.chassis.kafka import Outgoing
from stepwire.contracts import topics
from stepwire.contracts.commands import process_id_of
from stepwire_gateway.tail import TailRecord
from tests.gateway import stage as stages
from tests.gateway import workflows
from tests.gateway.stage import Stage, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

POISON = [b"", b"not json", b"[]", b"null", b"{}", b"\xff", b'{"type": 5}', b'{"type": "stepwire.command.accepted"}']


async def test_a_poisoned_event_under_the_key_somebody_waits_for(stage: Stage) -> None:
    """The good answer behind it is found, by its event alone."""
    manifest = await stage.offer(workflows.plain())
    command_id = f"poison-{uuid4()}"
    key = str(process_id_of(command_id)).encode()
    stage.by_row, stage.answer = False, stages.ignore
    headers = {"Idempotency-Key": command_id}
    posting = asyncio.create_task(stage.http.post(f"/api/processes/{manifest.workflow}", json=[], headers=headers))
    await until(lambda: bool(stage.commands))
    topic = stage.settings.topic(topics.PROCESS_EVENTS)
    other = b'{"type": "stepwire.command.accepted", "data": {"command_id": "another"}}'
    good = b'{"type": "stepwire.command.accepted", "data": {"command_id": "%s"}}' % command_id.encode()
    await stage.producer.send_all([Outgoing(topic, value, key) for value in (*POISON, other, good)])
    assert (await posting).status_code == 201


async def test_a_poisoned_form_reply(stage: Stage) -> None:
    """The good reply behind it is found."""
    manifest = await stage.offer(workflows.with_form())
    topic = stage.settings.topic(topics.FORMS_REPLIES)
    instance = stage.gateway.tail._instance  # noqa: SLF001 # whose replies are read at all
    named = [value + instance for value in POISON]
    named.append(b'{"gateway": "%s", "request_id": "unknown", "verdict": "complete"}' % instance)
    stage.form = stages.ignore
    posting = asyncio.create_task(stage.http.post(f"/api/processes/{manifest.workflow}", json=[{}]))
    await until(lambda: bool(stage.questions))
    named.append(b'{"gateway": "%s", "request_id": "%s"}' % (instance, stage.questions[0]["id"].encode()))
    stage.form = stages.verdict("complete")
    await stage.producer.send_all([Outgoing(topic, value, b"same partition") for value in named])
    await posting
    assert (await stage.http.post(f"/api/processes/{manifest.workflow}", json=[{}])).status_code == 201


async def test_a_poisoned_event_among_those_that_are_followed(stage: Stage) -> None:
    """It is passed over."""
    topic, subject = stage.settings.topic(topics.PROCESS_EVENTS), str(uuid4())
    good = b'{"type": "stepwire.process.created", "subject": "%s"}' % subject.encode()
    async with asyncio.timeout(20), stage.http.stream("GET", "/api/events", params={"process_id": subject}) as response:
        lines = response.aiter_lines()
        await anext(lines)
        await stage.producer.send_all([Outgoing(topic, value, subject.encode()) for value in (*POISON, good)])
        found = await anext(line async for line in lines if subject in line)
    assert found.startswith("data: ")


async def test_records_nobody_waits_for_are_not_read(stage: Stage) -> None:
    """Their key is enough: no JSON is parsed for them."""
    tail = stage.gateway.tail
    seen: list[object] = []
    record = TailRecord(stage.settings.topic(topics.PROCESS_EVENTS), 0, 0, b"nobody", b"not json at all")
    with tail.events_of([b"somebody"], seen.append):
        tail._hand_out(record.topic, [record])  # noqa: SLF001 # what a poll does
    assert seen == []
