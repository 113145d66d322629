"""The database or Kafka away in the middle: nothing is lost, nothing is refused for it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID

import pytest
from aiokafka import TopicPartition
from sqlalchemy import text

from stepwire.chassis.errors import KafkaUnavailable, RecordTooLarge
from stepwire.chassis.kafka import Outgoing, create_topics
from stepwire.chassis.settings import Settings
from stepwire_cli.backends.postgres import Postgres
from stepwire_cli.migrate import upgrade
from stepwire_coordinator import app, applying, timeline
from stepwire_coordinator.outbox import Relay
from stepwire_coordinator.packing import pack, unpack
from stepwire_coordinator.publication import Publication
from stepwire_coordinator.publishing import Publisher
from stepwire_coordinator.reading import Reader
from tests.coordinator.flows import two_steps
from tests.coordinator.stage import DEADLINE_SECONDS, Stage
from tests.support.backends import server_folder

COMPLETE = [("1", "success"), ("2", "success"), ("3", "success"), ("4", "complete")]
ALL_OF_THEM = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'stepwire-coordinator%'
"""
END_ALL = """
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'stepwire-coordinator%'
"""

TOO_MUCH = """
CREATE FUNCTION too_much() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF (SELECT count(DISTINCT process_id) FROM added) > 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
    RETURN NULL;
END $$
"""
REFUSE_TOO_MUCH = """
CREATE TRIGGER too_much AFTER INSERT ON stepwire_engine.process_steps REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION too_much()
"""


@pytest.fixture
def own_server() -> Iterator[tuple[Postgres, str]]:
    """A PostgreSQL server that the test may stop, and its address."""
    with server_folder() as folder:
        server = Postgres(Path(folder))
        yield server, server.start()
        server.stop()


async def _prepared(settings: Settings, url: str) -> Settings:
    """Settings that lead to this database, with its tables and the topics."""
    upgrade(url)
    own = settings.model_copy(update={"database_url": url})
    await create_topics(own)
    return own


async def _complete(stage: Stage, process_id: UUID) -> None:
    # A commit whose answer was lost is found done, and its run is left to the fallback queue.
    run = await stage.run_in_table(process_id)
    await stage.report(run, "2")
    await stage.report(run, "3")
    await stage.event("process.completed", process_id)


async def test_connections_ended_at_any_statement_lose_nothing(topics: Settings) -> None:
    """All connections of the coordinators are ended again and again while forty processes run."""
    async with Stage(topics, coordinators=2) as stage:
        await stage.offer(two_steps.manifest)
        processes = await asyncio.gather(*(stage.start("two_steps") for _ in range(40)))
        completing = asyncio.gather(*(_complete(stage, p) for p in processes))
        while not completing.done():
            await stage.execute(END_ALL)
            await asyncio.wait({completing}, timeout=0.5)
        await completing
        assert [await stage.log_of(p) for p in processes] == [COMPLETE] * 40
        assert stage.letters("step.results") == stage.letters("process.commands") == []
        await stage.until("SELECT count(*) FROM stepwire_engine.outbox", 0)


async def test_a_database_that_restarts_is_waited_for(
    own_server: tuple[Postgres, str], kafka_bootstrap: str, topic_prefix: str, settings: Settings
) -> None:
    """Records that arrive meanwhile are applied afterwards; one that is starting refuses nobody's record."""
    server, url = own_server
    own = await _prepared(settings, url)
    async with Stage(own) as stage:
        await stage.offer(two_steps.manifest)
        before = await stage.start("two_steps")
        run = await stage.run_of(before)
        await stage.engine.dispose()
        await asyncio.to_thread(server.stop)
        late = await stage.start("two_steps")
        await stage.report(run, "2")
        await stage.report(run, "3")
        await asyncio.to_thread(server.start)
        await stage.event("process.completed", before)
        await _complete(stage, late)
        assert stage.letters("step.results") == stage.letters("process.commands") == []


async def test_a_coordinator_stops_in_time_without_its_database(
    own_server: tuple[Postgres, str], topic_prefix: str, settings: Settings
) -> None:
    """What it had read is read again by the next one."""
    server, url = own_server
    own = await _prepared(settings, url)
    async with Stage(own) as stage:
        await stage.offer(two_steps.manifest)
        await _complete(stage, await stage.start("two_steps"))
        await stage.engine.dispose()
        await asyncio.to_thread(server.stop)
        late = await stage.start("two_steps")
        await stage.stop(0)
        await asyncio.to_thread(server.start)
        await stage.start_coordinator()
        await _complete(stage, late)


async def test_a_coordinator_stops_in_time_beside_a_frozen_database(
    own_server: tuple[Postgres, str], topic_prefix: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its batch waits for never comes and never fails, for the server's machine is there."""
    monkeypatch.setattr(app, "LATE_SECONDS", 0.1)
    _, url = own_server
    own = await _prepared(settings, url)
    async with Stage(own) as stage:
        await stage.offer(two_steps.manifest)
        await _complete(stage, await stage.start("two_steps"))
        async with stage.engine.connect() as connection:
            frozen = [row[0] for row in await connection.execute(text(ALL_OF_THEM))]
        for backend in frozen:
            os.kill(backend, signal.SIGSTOP)
        try:
            late = await stage.start("two_steps")
            await stage.stop(0)
        finally:
            for backend in frozen:
                os.kill(backend, signal.SIGCONT)
        await stage.start_coordinator()
        await _complete(stage, late)


async def test_a_coordinator_stops_in_time_where_kafka_does_not_tell_its_offsets(
    topics: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer that has just been given partitions asks for them without an end while Kafka is away."""
    asked = asyncio.Event()

    async def never(_: Reader, __: TopicPartition) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Reader, "committed", never)
    async with Stage(topics) as stage:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asked.wait()
        await stage.stop(0)


async def test_a_missing_table_is_waited_for(topics: Settings) -> None:
    """A migration that is not done yet is no fault of the records."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        await _complete(stage, await stage.start("two_steps"))
        await stage.execute("ALTER TABLE stepwire_engine.process_steps RENAME TO elsewhere")
        process_id = await stage.start("two_steps")
        failed = "SELECT xact_rollback > :before FROM pg_stat_database WHERE datname = current_database()"
        before = (await stage.rows(failed.replace("> :before", "")))[0][0]
        await stage.until(failed, wanted=True, before=before + 2)
        await stage.execute("ALTER TABLE stepwire_engine.elsewhere RENAME TO process_steps")
        await _complete(stage, process_id)
        assert stage.letters("process.commands") == []


async def test_after_a_failover_what_the_database_forgot_is_read_again(
    topics: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new primary has neither the process nor the position; Kafka still has the records."""
    monkeypatch.setattr(timeline, "TIMELINE", "SELECT coalesce(current_setting('stepwire.timeline', true), '1')")
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        process_id = await stage.start("two_steps")
        await _complete(stage, process_id)
        for table in ("processes", "process_steps", "commands", "result_positions"):
            await stage.execute(f"DELETE FROM stepwire_engine.{table}")  # noqa: S608 - a constant
        name = (await stage.rows("SELECT current_database()"))[0][0]
        await stage.execute(f"ALTER DATABASE {name} SET stepwire.timeline = '2'")
        await stage.execute(END_ALL)
        other = await stage.start("two_steps")
        await stage.until("SELECT count(*) FROM stepwire_engine.processes WHERE process_id = :id", 1, id=process_id)
        await _complete(stage, other)


class _Away:
    """A producer whose Kafka is away until it is told otherwise."""

    def __init__(self) -> None:
        self.away = True
        self.sent: list[Outgoing] = []

    async def send_all(self, records: Sequence[Outgoing], *, deadline_seconds: float | None = None) -> None:
        """Take them, or nothing."""
        if self.away:
            raise KafkaUnavailable("away")
        self.sent += records

    def check_size(self, record: Outgoing) -> None:
        """Refuse what is over four bytes."""
        if len(record.value) > 4:
            raise RecordTooLarge("over four bytes")


async def test_nobody_waits_for_a_kafka_that_is_away(topics: Settings) -> None:
    """After the first failure publications are left to the outbox and the fallback queue at once."""
    async with Stage(topics, coordinators=0) as stage:
        chassis = stage.make_chassis()
        # Nothing listens there: the publisher's probe finds nobody.
        producer = _Away()
        chassis.producer = producer  # type: ignore[assignment] # it has what is used of it
        chassis.settings = topics.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})
        publisher = Publisher(chassis)
        event = Outgoing(topics.topic("process.events"), b"{}", b"k")
        await publisher.publish(Publication(kept=[event], outbox_id=UUID(int=1)))
        async with asyncio.timeout(60):
            while not publisher.away:
                await stage.tick()
        for _ in range(100):
            await publisher.publish(Publication(kept=[event], outbox_id=UUID(int=2)))
        assert producer.sent == []
        await publisher.close()
        await chassis.engine.dispose()


async def test_the_outbox_is_relayed_when_kafka_is_back(topics: Settings) -> None:
    """Dead letters kept there are the same bytes again; what Kafka does not take stays."""
    async with Stage(topics, coordinators=0) as stage:
        chassis = stage.make_chassis()
        await chassis.producer.start()
        publisher = Publisher(chassis)
        letter = Outgoing(topics.topic("callbacks.dlq"), b"\xff\x00", b"\xfe", [("x-error", b"wrong_token")])
        event = Outgoing(topics.topic("process.events"), b'{"data":{}}', b"k", [("traceparent", b"00-1-2-01")])
        assert unpack(pack([event, letter])) == [event, letter]
        sql = """INSERT INTO stepwire_engine.outbox (id, records, due_at)
            VALUES (gen_random_uuid(), :records, clock_timestamp() - interval '1 second')"""
        await stage.execute(sql, records=pack([event, letter]))
        producer = chassis.producer
        chassis.producer = _Away()  # type: ignore[assignment] # it has what is used of it
        assert await Relay(chassis, publisher).relay() == 0
        assert len(await stage.rows("SELECT 1 FROM stepwire_engine.outbox")) == 1
        await publisher.close()
        chassis.producer = producer
        await stage.execute("UPDATE stepwire_engine.outbox SET due_at = clock_timestamp()")
        assert await Relay(chassis, Publisher(chassis)).relay() == 1
        assert await stage.rows("SELECT 1 FROM stepwire_engine.outbox") == []
        found = await stage.dead_letter("callbacks")
        assert (found.value, found.key, list(found.headers)) == (letter.value, letter.key, letter.headers)
        await producer.stop()
        await chassis.engine.dispose()


async def test_one_record_too_large_does_not_keep_the_others(topics: Settings) -> None:
    """Kafka would take none of those sent with it."""
    async with Stage(topics, coordinators=0) as stage:
        chassis = stage.make_chassis()
        producer = _Away()
        producer.away = False
        chassis.producer = producer  # type: ignore[assignment] # it has what is used of it
        chassis.settings = topics.model_copy(update={"max_message_bytes": 8})
        publisher = Publisher(chassis)
        small, large = Outgoing("t", b"1"), Outgoing("t", b"12345")
        assert await publisher.send_ours([small, large, small])
        assert producer.sent == [small, small]
        await chassis.engine.dispose()


async def test_a_batch_that_costs_its_connection_each_time_is_divided(
    topics: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that has no memory for so much at once, or no patience, would be asked for the same for ever."""
    monkeypatch.setattr(applying, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(applying, "LONGEST_PAUSE_SECONDS", 0.001)
    async with Stage(topics, coordinators=0) as stage:
        await stage.offer(two_steps.manifest)
        await stage.execute(TOO_MUCH)
        await stage.execute(REFUSE_TOO_MUCH)
        for number in range(6):
            start = {"type": "StartProcess", "command_id": f"start-{number}", "workflow": "two_steps"}
            await stage.send("process.commands", start, "one partition")
        await stage.start_coordinator()
        await stage.until("SELECT count(*) FROM stepwire_engine.processes WHERE runnable", 6)
