"""What is deleted, and what is measured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, text

from stepwire.chassis.settings import Settings
from stepwire_coordinator import gauges
from stepwire_coordinator.alarm import Alarm
from stepwire_coordinator.applying import Applier
from stepwire_coordinator.consuming import Consumption
from stepwire_coordinator.gauges import Gauges
from stepwire_coordinator.manifests import Manifests
from stepwire_coordinator.publishing import Publisher
from stepwire_coordinator.retention import apply_rules
from stepwire_coordinator.transaction import Surroundings
from tests.coordinator.flows import modify, two_steps, with_callback
from tests.coordinator.stage import DEADLINE_SECONDS, TICK_SECONDS, Stage

OLD = "clock_timestamp() - interval '2 days'"
NEW = "clock_timestamp() - interval '1 hour'"
DAYS = {"commands": 1.0, "notes": 1.0, "claims": 1.0, "outbox": 1.0}
PROCESS = """
INSERT INTO stepwire_engine.processes
    (process_id, workflow, target, is_task, status, node, manifest, prefix, epoch, completed_at)
VALUES (:id, 'w', 'CREATE', false, :status, '2', :manifest, 'p', 5, {completed})
"""
PAST_THE_LIMIT = """
SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
    AND query LIKE '%DELETE FROM stepwire_engine.outbox%' AND query_start < clock_timestamp() - interval '0.5 seconds'
"""
ROWS = {
    "commands": """INSERT INTO stepwire_engine.commands
        (command_id, type, process_id, content_hash, body, status, received_at)
        VALUES (:name, 'AddNote', :id, '', '', :command_status, {when})""",
    "process_notes": """INSERT INTO stepwire_engine.process_notes (process_id, kind, body, created_at)
        VALUES (:id, :kind, '{{}}', {when})""",
    "run_claims": """INSERT INTO stepwire_engine.run_claims (process_id, epoch, executor, node, claimed_at)
        VALUES (:id, :epoch, gen_random_uuid(), '2', {when})""",
    "step_outcomes": """INSERT INTO stepwire_engine.step_outcomes
        (process_id, node, attempt, status, executor, epoch, created_at)
        VALUES (:id, '2', 1, 'success', gen_random_uuid(), 1, {when})""",
    "callback_inbox": """INSERT INTO stepwire_engine.callback_inbox
        (process_id, node, attempt, payload, body_hash, received_at, applied_at)
        VALUES (:id, '2', 1, '{{}}', '', {when}, {applied})""",
    "set_aside": """INSERT INTO stepwire_engine.set_aside (topic_id, partition, "offset", topic, process_id, kind, body)
        VALUES (:name, 0, 0, 't', :id, 'result', '')""",
    "lock_waiters": "INSERT INTO stepwire_engine.lock_waiters (key, process_id) VALUES ('resource:x', :id)",
    "outbox": """INSERT INTO stepwire_engine.outbox (id, records, created_at) VALUES (:id, '', {when})""",
    "executors": """INSERT INTO stepwire_engine.executors
        (executor, name, queues, manifests, forms, lease_seconds, beat_at)
        VALUES (:id, 'x', '{{}}', ARRAY[:serves], ARRAY[:serves], 5, {when})""",
    "coordinators": """INSERT INTO stepwire_engine.coordinators (coordinator, name, beat_at)
        VALUES (:id, 'x', {when})""",
}


async def _put(stage: Stage, table: str, **fields: Any) -> None:
    when, applied = fields.pop("when", NEW), fields.pop("applied", "NULL")
    sql = ROWS[table].format(when=when, applied=applied)
    values = {"id": uuid4(), "name": str(uuid4()), "command_status": "accepted", "kind": "late_result", "epoch": 1}
    values = {**values, "serves": "none", **fields}
    await stage.execute(sql, **{key: value for key, value in values.items() if f":{key}" in sql})


async def _fill(stage: Stage, ended: UUID, fresh: UUID, going: UUID) -> None:
    """Put rows that are to go, and beside them rows that differ in age, status or process only."""
    await stage.execute(PROCESS.format(completed=OLD), id=ended, status="completed", manifest="used")
    await stage.execute(PROCESS.format(completed=NEW), id=fresh, status="completed", manifest="used")
    await stage.execute(PROCESS.format(completed="NULL"), id=going, status="running", manifest="used")
    for when, status in ((OLD, "accepted"), (NEW, "accepted"), (OLD, "pending"), (OLD, "held"), (OLD, "received")):
        await _put(stage, "commands", when=when, command_status=status)
    # Its process stands in line still: the pages will be needed.
    waiting = uuid4()
    await stage.execute(PROCESS.format(completed="NULL"), id=waiting, status="created", manifest="used")
    await _put(stage, "commands", when=OLD, command_status="accepted", id=waiting)
    for when, kind in ((OLD, "late_result"), (NEW, "late_result"), (OLD, "note")):
        await _put(stage, "process_notes", when=when, kind=kind, id=going)
    for id_, epoch, when in ((ended, 5, OLD), (fresh, 5, OLD), (going, 4, OLD), (going, 5, OLD), (going, 3, NEW)):
        await _put(stage, "run_claims", id=id_, epoch=epoch, when=when)
    for id_, applied in ((ended, "NULL"), (fresh, OLD), (going, "NULL")):
        await _put(stage, "callback_inbox", id=id_, applied=applied, when=OLD)
        await _put(stage, "step_outcomes", id=id_, when=OLD)
        await _put(stage, "set_aside", id=id_)
        await _put(stage, "lock_waiters", id=id_)
    # Of a process that is gone.
    await _put(stage, "set_aside")
    await _put(stage, "lock_waiters")
    for when in (OLD, NEW):
        await _put(stage, "outbox", when=when)
        await _put(stage, "coordinators", when=when)
        await _put(stage, "executors", when=when, serves="served")


async def _offer_long_ago(stage: Stage) -> None:
    manifest = """INSERT INTO stepwire_engine.manifests (hash, workflow, body, offered_at)
        VALUES (:hash, 'w', '{{}}', {when})"""
    for name in ("unused", "used", "served"):
        await stage.execute(manifest.format(when=OLD), hash=name)
    await stage.execute(manifest.format(when=NEW), hash="new")
    form = "INSERT INTO stepwire_engine.forms (key, queue, offered_at) VALUES (:key, 'default', {when})"
    for key, when in (("unused", OLD), ("served", OLD), ("new", NEW)):
        await stage.execute(form.format(when=when), key=key)


async def test_retention_deletes_what_is_past_its_time_and_nothing_else(topics: Settings) -> None:
    """Beside each row that goes lies one that stays, for its age, its status or its process."""
    async with Stage(topics, coordinators=0) as stage:
        chassis = stage.make_chassis()
        ended, fresh, going = uuid4(), uuid4(), uuid4()
        await _fill(stage, ended, fresh, going)
        await _offer_long_ago(stage)
        removed = await apply_rules(chassis, DAYS)
        once = dict.fromkeys(removed, 1)
        assert removed == {**once, "claims": 2, "inbox": 2, "early": 2, "waiters": 3}
        left = await stage.rows("SELECT process_id, epoch FROM stepwire_engine.run_claims")
        assert {tuple(row) for row in left} == {(fresh, 5), (going, 5), (going, 3)}
        left = await stage.rows("SELECT hash FROM stepwire_engine.manifests ORDER BY hash")
        assert [row[0] for row in left] == ["new", "served", "used"]
        left = await stage.rows("SELECT key FROM stepwire_engine.forms ORDER BY key")
        assert [row[0] for row in left] == ["new", "served"]
        assert await apply_rules(chassis, DAYS) == dict.fromkeys(removed, 0)
        await chassis.engine.dispose()


async def test_a_rule_that_takes_long_is_not_broken_off(topics: Settings) -> None:
    """The limit for a batch's statements is not for it: next time there would be even more to remove."""
    async with Stage(topics, coordinators=0) as stage:
        chassis = stage.make_chassis()
        event.listen(chassis.engine.sync_engine, "connect", _limit_statements)
        await _put(stage, "outbox", when=OLD)
        async with stage.holding("SELECT 1 FROM stepwire_engine.outbox FOR UPDATE"):
            applying = asyncio.create_task(apply_rules(chassis, DAYS))
            await stage.until(PAST_THE_LIMIT, wanted=True)
        assert (await applying)["outbox"] == 1
        await chassis.engine.dispose()


def _limit_statements(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("SET statement_timeout = '100ms'")
    cursor.close()
    connection.commit()


async def test_gauges_tell_ages_and_counts(topics: Settings) -> None:
    """Read from the database; a status nobody has any more goes back to zero."""
    async with Stage(topics, coordinators=0) as stage:
        chassis = stage.make_chassis()
        surroundings = Surroundings(topics, Manifests(), topics.callback_secrets)
        consumption = Consumption(chassis, Applier(chassis, surroundings, Alarm()), Publisher(chassis))
        gauges = Gauges(chassis, consumption)
        value = chassis.metrics.registry.get_sample_value
        process_id = uuid4()
        await stage.execute(PROCESS.format(completed="NULL"), id=process_id, status="running", manifest="m")
        dispatched = "UPDATE stepwire_engine.processes SET runnable = true, dispatched_at = {when}"
        await stage.execute(dispatched.format(when=OLD))
        await _put(stage, "outbox", when=OLD)
        lock = "INSERT INTO stepwire_engine.locks VALUES ('subscription:x', gen_random_uuid(), 'w', {when})"
        await stage.execute(lock.format(when=OLD))
        await gauges.read_ages()
        await gauges.count()
        two_days = 2 * 24 * 3600
        assert value("stepwire_processes", {"workflow": "w", "status": "running"}) == 1
        for name in ("outbox_oldest_seconds", "locks_oldest_seconds"):
            assert two_days <= (value(f"stepwire_{name}") or 0) < two_days + 600
        assert two_days <= (value("stepwire_queue_oldest_seconds", {"queue": "default"}) or 0) < two_days + 600
        await stage.execute("UPDATE stepwire_engine.processes SET status = 'completed', runnable = false")
        async with asyncio.timeout(DEADLINE_SECONDS):
            while value("stepwire_processes", {"workflow": "w", "status": "running"}) != 0:
                await gauges.count()
        await gauges.read_ages()
        assert value("stepwire_processes", {"workflow": "w", "status": "completed"}) == 1
        assert value("stepwire_queue_oldest_seconds", {"queue": "default"}) == 0
        await chassis.engine.dispose()


async def test_processes_too_many_to_count_cost_no_other_gauge(
    topics: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting that is broken off is not begun again and again, and everything else is told all the same."""
    monkeypatch.setattr(gauges, "EVERY_SECONDS", TICK_SECONDS)
    monkeypatch.setattr(gauges, "BY_STATUS", text("SELECT pg_sleep(1), 'w', 1"))
    async with Stage(topics, coordinators=0) as stage:
        chassis = stage.make_chassis()
        event.listen(chassis.engine.sync_engine, "connect", _limit_statements)
        surroundings = Surroundings(topics, Manifests(), topics.callback_secrets)
        consumption = Consumption(chassis, Applier(chassis, surroundings, Alarm()), Publisher(chassis))
        reading = asyncio.create_task(Gauges(chassis, consumption).run())
        await _put(stage, "outbox", when=OLD)
        value = chassis.metrics.registry.get_sample_value
        await _until(stage, lambda: (value("stepwire_outbox_oldest_seconds") or 0) > 0)
        reading.cancel()
        await asyncio.wait({reading})
        await chassis.engine.dispose()


async def test_metrics_count_what_was_committed(topics: Settings, callback: Any) -> None:
    """Commands by answer, callbacks by outcome, drops by reason, durations of processes, dead letters."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        await stage.offer(with_callback.manifest)
        value = stage.chassis[0].metrics.registry.get_sample_value
        process_id = await stage.start("two_steps")
        run = await stage.run_of(process_id)
        await stage.report(run, "2")
        await stage.report(run, "2")
        await stage.report(run, "3")
        waiting = await stage.start("with_callback")
        asked = await stage.run_of(waiting)
        await stage.report(asked, "2.1", "awaiting_callback")
        await stage.status(waiting, "awaiting_callback")
        await stage.send("callbacks", callback(waiting, "2", 1), str(waiting))
        await stage.run_of(waiting, after_epoch=asked["epoch"])
        await stage.send("callbacks", callback(waiting, "2", 1), str(waiting))
        await stage.send("callbacks", callback(waiting, "2", 1, payload={"y": 2}), str(waiting))
        await stage.command("StartProcess", workflow="unknown")
        await stage.dead_letter("callbacks")
        await stage.event("process.completed", process_id)
        await stage.until("SELECT count(*) FROM stepwire_engine.commands WHERE status = 'rejected'", 1)
        await _until(stage, lambda: value("stepwire_callbacks_total", {"outcome": "repeated"}) == 1)
        assert value("stepwire_commands_total", {"type": "StartProcess", "outcome": "accepted"}) == 2
        await _until(
            stage, lambda: value("stepwire_commands_total", {"type": "StartProcess", "outcome": "rejected"}) == 1
        )
        assert value("stepwire_callbacks_total", {"outcome": "applied"}) == 1
        assert value("stepwire_callbacks_total", {"outcome": "different_body"}) == 1
        assert value("stepwire_callback_wait_seconds_count") == 1
        assert value("stepwire_results_dropped_total", {"reason": "passed"}) == 1
        labels = {"workflow": "two_steps", "status": "completed"}
        assert value("stepwire_process_duration_seconds_count", labels) == 1
        assert value("stepwire_dead_letters_total", {"topic": "callbacks", "error": "different_body"}) == 1
        assert (value("stepwire_batch_seconds_count") or 0) > 0


async def test_a_locked_subscription_is_seen_in_the_gauge_of_locks(
    topics: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The age is that of the oldest lock that is held."""
    monkeypatch.setattr(gauges, "EVERY_SECONDS", TICK_SECONDS)
    async with Stage(topics) as stage:
        await stage.offer(modify.manifest)
        subscription_id = await stage.subscribe()
        process_id = await stage.start("modify", subscription_id=str(subscription_id))
        await stage.run_of(process_id)
        value = stage.chassis[0].metrics.registry.get_sample_value
        await _until(stage, lambda: (value("stepwire_locks_oldest_seconds") or 0) > 0)


async def _until(stage: Stage, holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not holds():
            await stage.tick()
