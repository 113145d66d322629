"""Every record carries a trace, and the records of one process carry one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from uuid import UUID, uuid4

from aiokafka import ConsumerRecord

from stepwire.chassis.kafka import make_consumer, wanted_topics
from stepwire.chassis.settings import Settings
from stepwire.contracts import topics
from stepwire.contracts.commands import process_id_of
from stepwire.contracts.tracing import traceparent_in
from tests.behaviours.doors import HttpDoor, KafkaDoor, Live
from tests.behaviours.driver import handed_out

TRACE = "0af7651916cd43dd8448eb211c80319c"
GIVEN = f"00-{TRACE}-b7ad6b7169203331-01"
READ_SECONDS = 30.0
Fits = Callable[[ConsumerRecord], bool]


async def _read(settings: Settings, fits: Fits, enough: Callable[[list[ConsumerRecord]], bool]) -> list[ConsumerRecord]:
    consumer = make_consumer(settings, group=None)
    consumer.subscribe(wanted_topics(settings))
    await consumer.start()
    found: list[ConsumerRecord] = []
    try:
        async with asyncio.timeout(READ_SECONDS):
            while not enough(found):
                record = await consumer.getone()
                found += [record] if fits(record) else []
    finally:
        await consumer.stop()
    return found


def records_of(live: Live, process_id: UUID, wanted: Iterable[str]) -> list[ConsumerRecord]:
    """The records of a process that we have published, as soon as there are some in each of these topics."""
    key, topics_wanted = str(process_id).encode(), {live.settings.topic(name) for name in wanted}
    asked = {live.settings.topic(name) for name in (topics.PROCESS_COMMANDS, topics.CALLBACKS)}

    def enough(found: list[ConsumerRecord]) -> bool:
        ended = any(b"stepwire.process.completed" in record.value for record in found)
        return ended and topics_wanted <= {record.topic for record in found}

    return asyncio.run(_read(live.settings, lambda r: r.key == key and r.topic not in asked, enough))


def traces_in(records: Iterable[ConsumerRecord]) -> set[str]:
    """The trace ids of records; one without is an error."""
    return {(traceparent_in(record.headers) or "none").split("-")[1] for record in records}


OURS = (topics.STEP_COMMANDS, topics.STEP_RESULTS, topics.PROCESS_EVENTS)


def test_a_process_stays_in_the_trace_of_the_command_that_started_it(live: Live, http: HttpDoor) -> None:
    """Runs, results, events and dead letters, also when somebody else goes on with it in a trace of his own."""
    command_id = f"traced-{uuid4()}"
    process_id = process_id_of(command_id)
    command = {"type": "StartProcess", "command_id": command_id, "workflow": "c25_one"}
    live.wire.send(topics.PROCESS_COMMANDS, command, str(process_id), headers=[("traceparent", GIVEN.encode())])
    route = handed_out(http.wait(process_id, "awaiting_callback"))
    forged = {"type": "CallbackReceived", "process_id": str(process_id), "token": "x" * 40, "payload": {}}
    live.wire.send(topics.CALLBACKS, forged, str(process_id))
    other = GIVEN.replace(TRACE, "1" * 32)
    assert live.request("POST", route, json={}, headers={"traceparent": other}).status_code == 200
    http.wait(process_id, "completed")
    records = records_of(live, process_id, [*OURS, topics.dead_letters(topics.CALLBACKS)])
    assert traces_in(records) == {TRACE}


def test_a_start_over_http_keeps_the_trace_of_its_request(live: Live, http: HttpDoor) -> None:
    """The command waits in the database, and its trace with it."""
    response = live.request("POST", "/api/processes/d31_no_form", json=[], headers={"traceparent": GIVEN})
    process_id = UUID(response.json()["id"])
    http.wait(process_id, "completed")
    assert traces_in(records_of(live, process_id, OURS)) == {TRACE}


def test_a_process_that_came_without_has_its_id_as_trace(live: Live, kafka: KafkaDoor) -> None:
    """Nobody has to send anything for its records to belong together."""
    process_id = kafka.start("d31_no_form")
    kafka.wait(process_id, "completed")
    assert traces_in(records_of(live, process_id, OURS)) == {process_id.hex}
