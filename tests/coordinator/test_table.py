"""Commands that are found in the table, and commands about the engine."""

from __future__ import annotations

from uuid import UUID, uuid4

import orjson
from sqlalchemy import text

from stepwire.chassis.settings import Settings
from stepwire.contracts.base import encode
from stepwire.contracts.commands import AddNote, ResumeProcess, StartProcess, content_hash, process_id_of
from tests.coordinator.flows import task, two_steps
from tests.coordinator.stage import Stage

INSERT = text("""
INSERT INTO stepwire_engine.commands (command_id, type, process_id, content_hash, body, received_at, status)
VALUES (:command_id, :type, :process_id, :hash, :body, clock_timestamp() - make_interval(secs => :age), :status)
""")
FAULT = {"class_name": "ValueError", "message": "no"}


async def _write(
    stage: Stage, command: StartProcess | ResumeProcess | AddNote, *, age_seconds: float = 0.0, status: str = "received"
) -> UUID:
    """Write a command as the gateway does, without a record."""
    process_id = command.process_id or process_id_of(command.command_id)
    values = {
        "command_id": command.command_id,
        "type": command.type,
        "process_id": process_id,
        "hash": content_hash(command),
        "body": encode(command),
        "age": age_seconds,
        "status": status,
    }
    async with stage.engine.begin() as connection:
        await connection.execute(INSERT, values)
    return process_id


async def _fail(stage: Stage, workflow: str) -> tuple[UUID, int]:
    process_id = await stage.start(workflow)
    run = await stage.run_of(process_id)
    await stage.report(run, "2", "failed", error=FAULT)
    await stage.status(process_id, "failed")
    return process_id, run["epoch"]


async def test_a_command_without_a_record_is_found(topics: Settings) -> None:
    """After two seconds, or at once when it is announced; and it is answered once by two coordinators."""
    async with Stage(topics, coordinators=2) as stage:
        await stage.offer(two_steps.manifest)
        old = await _write(stage, StartProcess(command_id="old", workflow="two_steps"), age_seconds=2.0)
        await stage.run_of(old)
        new = await _write(stage, StartProcess(command_id="new", workflow="two_steps"))
        await stage.execute("SELECT pg_notify('stepwire_commands', '')")
        await stage.run_of(new)
        for command_id in ("old", "new"):
            await stage.event("command.accepted", command_id)
            assert len({answer["id"] for answer in await stage.answers(command_id)}) == 1


async def test_a_command_nobody_understands_stops_no_other(topics: Settings) -> None:
    """Newer gateways may write what this coordinator does not know; broken bytes are left alone, too."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        for n, body in enumerate((b"\xff", b'{"command_id": "x", "type": "Dance"}')):
            values = {"type": "Dance", "process_id": None, "hash": b"", "age": 10.0, "status": "received"}
            async with stage.engine.begin() as connection:
                await connection.execute(INSERT, {**values, "command_id": f"bad-{n}", "body": body})
        good = await _write(stage, StartProcess(command_id="good", workflow="two_steps"), age_seconds=3.0)
        await stage.run_of(good)


async def test_many_starts_that_wait_for_the_end_of_a_pause_hide_no_other_command(topics: Settings) -> None:
    """There are more of them than one look takes; a note behind them is found and answered."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        process_id = await stage.start("two_steps")
        await stage.run_of(process_id)
        await stage.event("command.accepted", await stage.command("PauseEngine"))
        sql = """INSERT INTO stepwire_engine.commands
            (command_id, type, content_hash, body, status, received_at)
            SELECT 'held-' || n, 'StartProcess', '', convert_to(json_build_object('type', 'StartProcess',
                'command_id', 'held-' || n, 'workflow', 'two_steps', 'hold', true)::text, 'UTF8'), 'held',
                clock_timestamp() - interval '1 hour' FROM generate_series(1, 600) AS n"""
        await stage.execute(sql)
        await _write(stage, AddNote(command_id="note", process_id=process_id, note="seen"), age_seconds=2.0)
        await stage.event("command.accepted", "note")
        await stage.event("command.accepted", await stage.command("UnpauseEngine"))
        await stage.until("SELECT count(*) FROM stepwire_engine.commands WHERE status = 'held'", 0)
        await stage.until("SELECT count(*) FROM stepwire_engine.processes", 601)


async def test_a_paused_engine_starts_nothing_but_keeps_what_can_wait(topics: Settings) -> None:
    """A start is refused, one with hold waits for the end of the pause."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        await stage.event("command.accepted", await stage.command("PauseEngine"))
        refused = await stage.command("StartProcess", workflow="two_steps")
        assert (await stage.event("command.rejected", refused))["data"]["reason"] == "engine_paused"
        held = await stage.start("two_steps", hold=True)
        await stage.until("SELECT count(*) FROM stepwire_engine.commands WHERE status = 'held'", 1)
        assert await stage.rows("SELECT 1 FROM stepwire_engine.processes") == []
        await stage.event("command.accepted", await stage.command("UnpauseEngine"))
        await stage.run_of(held)
        await stage.event("command.accepted", held)


async def test_resume_all_retries_the_tasks_that_failed(topics: Settings) -> None:
    """Each as a command of its own; other processes stay as they are, and a second call waits for the first."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        await stage.offer(task.manifest)
        plain, _ = await _fail(stage, "two_steps")
        failed = [await _fail(stage, "task") for _ in range(3)]
        command_id = await stage.command("ResumeAll")
        assert (await stage.event("command.accepted", command_id))["data"]["count"] == 3
        for process_id, epoch in failed:
            again = await stage.run_of(process_id, after_epoch=epoch)
            assert again["attempt"] == 2
        await stage.status(plain, "failed")
        sql = (
            "SELECT count(*) FROM stepwire_engine.commands WHERE command_id LIKE 'resume-all:%' AND status = 'accepted'"
        )
        await stage.until(sql, 3)
        await stage.command("ResumeAll", command_id=command_id)
        assert (await stage.event("command.accepted", command_id, count=2))["data"]["count"] == 3
        await _write(stage, ResumeProcess(command_id="resume-all:x:1", process_id=uuid4()), status="held")
        refused = await stage.event("command.rejected", await stage.command("ResumeAll"))
        assert refused["data"]["reason"] == "wrong_status"


async def test_resume_all_is_done_once_at_a_time(topics: Settings) -> None:
    """Whoever comes while another coordinator is just writing the commands is refused, too."""
    lock = "SELECT pg_advisory_xact_lock(hashtextextended('stepwire resume-all', 0))"
    async with Stage(topics) as stage:
        async with stage.holding(lock):
            refused = await stage.event("command.rejected", await stage.command("ResumeAll"))
        assert refused["data"]["reason"] == "wrong_status"
        await stage.event("command.accepted", await stage.command("ResumeAll"))


async def test_resume_all_goes_on_behind_a_bad_process(topics: Settings) -> None:
    """What cannot even be read is told in its own answer, and the others are retried."""
    async with Stage(topics) as stage:
        await stage.offer(task.manifest)
        failed = [await _fail(stage, "task") for _ in range(3)]
        bad = failed.pop(1)[0]
        await stage.execute("UPDATE stepwire_engine.processes SET manifest = 'gone' WHERE process_id = :id", id=bad)
        await stage.event("command.accepted", await stage.command("ResumeAll"))
        for process_id, epoch in failed:
            await stage.run_of(process_id, after_epoch=epoch)
        refused = "SELECT count(*) FROM stepwire_engine.commands WHERE status = 'rejected' AND process_id = :id"
        await stage.until(refused, 1, id=bad)
        await stage.status(bad, "failed")


async def test_a_skipped_step_is_recorded_and_the_process_goes_on(topics: Settings) -> None:
    """Its state is merged; who and why are kept."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        process_id, epoch = await _fail(stage, "two_steps")
        wrong = await stage.command("SkipStep", process_id, node="3")
        assert (await stage.event("command.rejected", wrong))["data"]["reason"] == "wrong_status"
        skip = await stage.command("SkipStep", process_id, node="2", state={"a": 1}, reason="by hand", user="jane")
        again = await stage.run_of(process_id, after_epoch=epoch)
        assert (again["node"], again["state"]["a"]) == ("3", 1)
        await stage.event("command.accepted", skip)
        notes = await stage.rows(
            "SELECT body, created_by FROM stepwire_engine.process_notes WHERE kind = 'step_skipped'"
        )
        assert [tuple(row) for row in notes] == [({"node": "2", "reason": "by hand"}, "jane")]


async def test_notes_are_kept_and_the_last_one_is_shown(topics: Settings) -> None:
    """Also beside a process that has ended."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        process_id = await stage.start("two_steps")
        await stage.run_of(process_id)
        await stage.command("AbortProcess", process_id)
        await stage.status(process_id, "aborted")
        for note in ("one", "two"):
            await stage.event("command.accepted", await stage.command("AddNote", process_id, note=note, user="jane"))
        assert (await stage.status(process_id, "aborted")).note == "two"
        sql = "SELECT body FROM stepwire_engine.process_notes WHERE kind = 'note' ORDER BY id"
        assert [row[0] for row in await stage.rows(sql)] == [{"note": "one"}, {"note": "two"}]


async def test_of_twenty_retries_at_once_one_is_accepted(topics: Settings) -> None:
    """Over two coordinators: one new run, the others are told that there is nothing to resume."""
    async with Stage(topics, coordinators=2) as stage:
        await stage.offer(two_steps.manifest)
        process_id, epoch = await _fail(stage, "two_steps")
        for n in range(20):
            record = {"type": "ResumeProcess", "command_id": f"retry-{n}", "process_id": str(process_id)}
            await stage.send("process.commands", orjson.dumps(record), f"any-{n}")
        sql = "SELECT count(*) FROM stepwire_engine.commands WHERE type = 'ResumeProcess' AND answer IS NOT NULL"
        await stage.until(sql, 20)
        accepted = "SELECT count(*) FROM stepwire_engine.commands WHERE type = 'ResumeProcess' AND status = 'accepted'"
        assert (await stage.rows(accepted))[0][0] == 1
        again = await stage.run_of(process_id, after_epoch=epoch)
        assert (again["attempt"], (await stage.status(process_id, "running")).epoch) == (2, again["epoch"])
