"""A coordinator that ends between two steps of its work, and what the others make of it."""

from __future__ import annotations

import asyncio
from uuid import UUID

from stepwire.chassis.settings import Settings
from tests.coordinator.flows import two_steps
from tests.coordinator.stage import DEADLINE_SECONDS, Stage

COMPLETE = [("1", "success"), ("2", "success"), ("3", "success"), ("4", "complete")]
COMPLETE_WORDS = ["process.created", "process.started", "process.completed"]


async def _numbered(stage: Stage, process_id: UUID) -> dict[int, tuple[str, str]]:
    """Events of a process by their number; a repetition must be the same event."""
    found: dict[int, tuple[str, str]] = {}
    for event in await stage.events_of(process_id):
        if "sequence" in event:
            known = (event["id"], event["type"].removeprefix("stepwire."))
            assert found.setdefault(event["sequence"], known) == known
    return found


async def test_events_of_a_coordinator_that_ended_after_its_commit_are_relayed(topics: Settings) -> None:
    """It published nothing and committed no offset; the other relays the events and changes nothing twice."""
    async with Stage(topics, failpoints="coordinator.committed=pause") as stage:
        await stage.offer(two_steps.manifest)
        process_id = await stage.start("two_steps")
        await stage.until("SELECT count(*) FROM stepwire_engine.processes", 1)
        await stage.crash(0)
        assert await stage.events_of(process_id) == []
        await stage.start_coordinator()
        await stage.event("process.started", process_id)
        numbers = await _numbered(stage, process_id)
        assert [word for _, word in numbers.values()] == ["process.created", "process.started"]
        # Its run was never published: the fallback queue has it, and nobody sends it twice.
        assert stage.runs_of(process_id) == []
        row = await stage.status(process_id, "running")
        assert (row.runnable, row.epoch, row.node) == (True, 1, "2")
        run = await stage.run_in_table(process_id)
        await stage.report(run, "2")
        await stage.report(run, "3")
        await stage.event("process.completed", process_id)
        assert await stage.log_of(process_id) == COMPLETE
        await stage.until("SELECT count(*) FROM stepwire_engine.outbox", 0)


async def test_a_transaction_that_was_not_committed_leaves_nothing(topics: Settings) -> None:
    """Its records are read again by the next coordinator."""
    async with Stage(topics, failpoints="coordinator.in_transaction=pause") as stage:
        await stage.offer(two_steps.manifest)
        process_id = await stage.start("two_steps")
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in tr%'"
        await stage.until(f"SELECT ({sql}) > 0", wanted=True)
        await stage.crash(0)
        assert await stage.rows("SELECT 1 FROM stepwire_engine.processes") == []
        await stage.start_coordinator()
        run = await stage.run_of(process_id)
        await stage.report(run, "2")
        await stage.report(run, "3")
        await stage.event("process.completed", process_id)
        assert [word for _, word in (await _numbered(stage, process_id)).values()] == COMPLETE_WORDS


async def test_what_was_published_before_the_end_is_at_most_repeated(topics: Settings) -> None:
    """It ended before the outbox was emptied: events come again with the same ids, runs do not."""
    async with Stage(topics, failpoints="coordinator.published=pause@1") as stage:
        await stage.offer(two_steps.manifest)
        process_id = await stage.start("two_steps")
        await stage.run_of(process_id)
        await stage.event("process.started", process_id)
        await stage.crash(0)
        # As if it had ended before its next look at the outbox.
        await stage.start_coordinator()
        run = await stage.run_of(process_id)
        await stage.report(run, "2")
        await stage.report(run, "3")
        await stage.event("process.completed", process_id)
        assert [word for _, word in (await _numbered(stage, process_id)).values()] == COMPLETE_WORDS
        assert len(stage.runs_of(process_id)) == 1


async def test_everything_read_again_from_the_start_changes_nothing(topics: Settings) -> None:
    """A database that knows of no positions makes every record be read again; all are told apart."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        processes = [await stage.start("two_steps") for _ in range(5)]
        for process_id in processes:
            run = await stage.run_of(process_id)
            await stage.report(run, "2")
            await stage.report(run, "3")
        await asyncio.gather(*(stage.event("process.completed", p) for p in processes))
        await stage.stop(0)
        rows = "SELECT process_id, epoch, event_seq, last_modified_at FROM stepwire_engine.processes ORDER BY 1"
        before = [tuple(row) for row in await stage.rows(rows)]
        await stage.execute("DELETE FROM stepwire_engine.result_positions")
        again = await stage.start_coordinator()
        process_id = await stage.start("two_steps")
        await stage.run_of(process_id)
        dropped = again.metrics.registry.get_sample_value
        known_again = {"passed": 10.0, "repeated_command": 5.0}
        async with asyncio.timeout(DEADLINE_SECONDS):
            while known_again != {
                reason: dropped("stepwire_results_dropped_total", {"reason": reason}) for reason in known_again
            }:
                await stage.tick()
        assert [tuple(row) for row in await stage.rows(rows) if row.process_id in processes] == before
        for known in processes:
            assert await stage.log_of(known) == COMPLETE
            assert len(stage.runs_of(known)) == 1


async def test_an_abort_read_with_its_start_outlives_a_crash_in_the_first_poll_of_all(topics: Settings) -> None:
    """The start was in the database, and so was the position behind both; Kafka had no offset of this group yet."""
    async with Stage(topics, coordinators=0) as stage:
        await stage.offer(two_steps.manifest)
        process_id = await stage.start("two_steps")
        abort = await stage.command("AbortProcess", process_id)
        await stage.start_coordinator("coordinator.committed=pause")
        await stage.until("SELECT count(*) FROM stepwire_engine.processes", 1)
        await stage.crash(0)
        await stage.start_coordinator()
        await stage.event("command.accepted", abort)
        await stage.status(process_id, "aborted")
