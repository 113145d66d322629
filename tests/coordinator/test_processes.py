"""A process from its command to its completion, executors played by the test."""

from __future__ import annotations

from uuid import uuid4

from stepwire import StepList, begin, callback_step, done, init, inputstep, step, workflow
from stepwire.chassis.settings import Settings
from stepwire.contracts.tokens import derive_key, make_token
from tests.coordinator.stage import Stage


@step("First")
def first() -> dict[str, int]:
    """Set a value."""
    return {"a": 1}


@step("Second")
def second() -> None:
    """Do nothing."""


@workflow("Two steps")
def two_steps() -> StepList:
    """Two plain steps."""
    return init >> first >> second >> done


@workflow("A callback")
def with_callback() -> StepList:
    """Wait for an outside system."""
    return init >> callback_step("Ask", first, second) >> second >> done


@inputstep("Confirm", assignee="NOC")
def confirm() -> None:
    """Ask an operator."""


@workflow("An input")
def with_input() -> StepList:
    """Wait for an operator."""
    return begin >> confirm >> second


async def test_a_process_completes_with_its_events_in_sequence(topics: Settings) -> None:
    """Two results complete a process; its events are numbered without gaps."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        process_id = await stage.start("two_steps", labels={"order": "1"})
        run = await stage.run_of(process_id)
        assert (run["node"], run["epoch"], run["state"]["workflow_name"]) == ("2", 1, "two_steps")
        await stage.report(run, "2", delta={"set": {"a": 1}})
        await stage.report(run, "3")
        completed = await stage.event("process.completed", process_id)
        assert completed["data"]["labels"] == {"order": "1"}
        row = await stage.status(process_id, "completed")
        assert row.callback_key is None
        log = await stage.log_of(process_id)
        assert log == [("1", "success"), ("2", "success"), ("3", "success"), ("4", "complete")]
        events = await stage.events_of(process_id)
        assert [e.get("sequence") for e in events] == [None, 1, 2, 3]
        words = [e["type"].removeprefix("stepwire.") for e in events]
        assert words == ["command.accepted", "process.created", "process.started", "process.completed"]


async def test_results_out_of_order_and_doubled_are_applied_once(topics: Settings) -> None:
    """A result ahead of its position waits for the gap to close; a repeat is dropped."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        process_id = await stage.start("two_steps")
        run = await stage.run_of(process_id)
        await stage.report(run, "3")
        await stage.until("SELECT count(*) FROM stepwire_engine.set_aside", 1)
        await stage.report(run, "2")
        await stage.report(run, "2")
        await stage.event("process.completed", process_id)
        log = await stage.log_of(process_id)
        assert log == [("1", "success"), ("2", "success"), ("3", "success"), ("4", "complete")]
        await stage.until("SELECT count(*) FROM stepwire_engine.set_aside", 0)


async def test_a_repeated_command_is_answered_with_the_first_answer(topics: Settings) -> None:
    """The same id gives the same event again; another content under it is refused."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        first_id = await stage.command("StartProcess", workflow="two_steps", command_id="order-1")
        once = await stage.event("command.accepted", first_id)
        await stage.command("StartProcess", workflow="two_steps", command_id="order-1")
        again = await stage.event("command.accepted", first_id, count=2)
        assert again["id"] == once["id"]
        await stage.command("StartProcess", workflow="two_steps", command_id="order-1", priority=3)
        refused = await stage.event("command.rejected", first_id)
        assert refused["data"]["reason"] == "command_id_reused"
        assert len(await stage.rows("SELECT 1 FROM stepwire_engine.processes")) == 1


async def test_poison_is_dead_lettered_and_what_follows_goes_on(topics: Settings) -> None:
    """A record that is no JSON costs only itself."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        for topic in ("process.commands", "step.results", "callbacks"):
            await stage.send(topic, b"\xff not json", "same-key")
        await stage.command("StartProcess", workflow="nobody_knows", command_id="unknown")
        await stage.command("Dance", command_id="dance")
        process_id = await stage.start("two_steps")
        await stage.run_of(process_id)
        for topic in ("process.commands", "step.results", "callbacks"):
            letter = await stage.dead_letter(topic)
            assert dict(letter.headers)["x-error"] == b"malformed"
            assert letter.value == b"\xff not json"
        unknown = await stage.event("command.rejected", "unknown")
        assert unknown["data"]["reason"] == "unknown_workflow"
        dance = await stage.event("command.rejected", "dance")
        assert dance["data"]["reason"] == "unknown_type"


async def test_a_failed_step_is_retried_with_the_next_attempt(topics: Settings) -> None:
    """A retry is a new attempt from the failed node; a second failure alike is counted."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        process_id = await stage.start("two_steps")
        run = await stage.run_of(process_id)
        fault = {"class_name": "ValueError", "message": "no"}
        await stage.report(run, "2", "failed", error=fault)
        failed = await stage.status(process_id, "failed")
        assert failed.failed_reason == "no"
        await stage.command("ResumeProcess", process_id)
        again = await stage.run_of(process_id, after_epoch=run["epoch"])
        assert (again["node"], again["attempt"]) == ("2", 2)
        await stage.report(again, "2", "failed", error=fault)
        await stage.until("SELECT max(retries) FROM stepwire_engine.process_steps", 1)
        await stage.command("ResumeProcess", process_id)
        third = await stage.run_of(process_id, after_epoch=again["epoch"])
        await stage.report(third, "2")
        await stage.report(third, "3")
        done_row = await stage.status(process_id, "completed")
        assert done_row.failed_reason is None


async def test_a_callback_by_kafka_goes_on_and_a_repeat_is_counted(topics: Settings) -> None:
    """The payload is put under the result key; another body is a dead letter."""
    async with Stage(topics) as stage:
        await stage.offer(with_callback.manifest)
        process_id = await stage.start("with_callback")
        run = await stage.run_of(process_id)
        assert run["node"] == "2.1"
        await stage.report(run, "2.1", "awaiting_callback")
        await stage.status(process_id, "awaiting_callback")
        secret = topics.callback_secrets[0]
        token = make_token(derive_key(secret.value, process_id), secret.id, "2", 1)
        record = {"type": "CallbackReceived", "process_id": str(process_id), "token": token, "payload": {"x": 1}}
        forged = make_token(b"wrong", secret.id, "2", 1)
        await stage.send("callbacks", {**record, "token": forged}, str(process_id))
        await stage.send("callbacks", record, str(process_id))
        await stage.send("callbacks", record, str(process_id))
        again = await stage.run_of(process_id, after_epoch=run["epoch"])
        assert again["node"] == "2.2"
        assert again["state"]["callback_result"] == {"x": 1}
        letter = await stage.dead_letter("callbacks")
        assert dict(letter.headers)["x-error"] == b"wrong_token"
        await stage.report(again, "2.2")
        await stage.report(again, "3")
        await stage.event("process.completed", process_id)


async def test_a_callback_before_the_await_is_kept_and_used(topics: Settings) -> None:
    """An outside system may answer before the action has returned."""
    async with Stage(topics) as stage:
        await stage.offer(with_callback.manifest)
        process_id = await stage.start("with_callback")
        run = await stage.run_of(process_id)
        secret = topics.callback_secrets[0]
        token = make_token(derive_key(secret.value, process_id), secret.id, "2", 1)
        record = {"type": "CallbackReceived", "process_id": str(process_id), "token": token, "payload": {"x": 1}}
        await stage.send("callbacks", record, str(process_id))
        await stage.until("SELECT count(*) FROM stepwire_engine.callback_inbox", 1)
        await stage.report(run, "2.1", "awaiting_callback")
        again = await stage.run_of(process_id, after_epoch=run["epoch"])
        assert again["state"]["callback_result"] == {"x": 1}


async def test_a_callback_that_never_comes_fails_the_step(topics: Settings) -> None:
    """The deadline is the database's; the failed step can be retried with a new token."""
    async with Stage(topics) as stage:
        await stage.offer(with_callback.manifest)
        process_id = await stage.start("with_callback")
        run = await stage.run_of(process_id)
        await stage.report(run, "2.1", "awaiting_callback", timeout_seconds=0.2)
        row = await stage.status(process_id, "failed")
        assert row.failed_reason == "Callback timed out"
        await stage.command("ResumeProcess", process_id)
        again = await stage.run_of(process_id, after_epoch=run["epoch"])
        assert (again["node"], again["attempt"]) == ("2.1", 2)


async def test_input_is_checked_before_anything_changes(topics: Settings) -> None:
    """Invalid pages leave the process suspended and tell the sender; valid ones go on."""
    async with Stage(topics) as stage:
        await stage.offer(with_input.manifest)
        process_id = await stage.start("with_input")
        run = await stage.run_of(process_id)
        await stage.report(run, "2", "suspend", form={"type": "object"}, assignee="NOC")
        await stage.status(process_id, "suspended")
        bad = await stage.command("ResumeProcess", process_id, user_inputs=[{"x": 1}])
        check = await stage.run_of(process_id, after_epoch=run["epoch"])
        assert check["user_inputs"] == [{"x": 1}]
        errors = [{"loc": ["x"], "msg": "wrong", "type": "value_error"}]
        fault = {"class_name": "FormInvalid", "message": "invalid", "reason": "invalid_input", "errors": errors}
        await stage.report(check, "2", "rejected", error=fault)
        refused = await stage.event("command.rejected", bad)
        assert refused["data"]["errors"] == errors
        await stage.status(process_id, "suspended")
        good = await stage.command("ResumeProcess", process_id, user_inputs=[{"x": 2}], user="jane")
        check = await stage.run_of(process_id, after_epoch=check["epoch"])
        await stage.report(check, "2", created_by="jane", delta={"set": {"x": 2}})
        await stage.event("command.accepted", good)
        await stage.report(check, "3")
        await stage.event("process.completed", process_id)
        given = await stage.rows("SELECT given_by FROM stepwire_engine.process_inputs ORDER BY seq")
        assert [row[0] for row in given] == ["test", "jane"]


async def test_abort_wins_against_a_running_step(topics: Settings) -> None:
    """The late result is kept as a note, never as progress."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        process_id = await stage.start("two_steps")
        run = await stage.run_of(process_id)
        await stage.command("AbortProcess", process_id, user="jane", reason="cancelled")
        await stage.event("process.aborted", process_id)
        await stage.report(run, "2")
        await stage.until("SELECT count(*) FROM stepwire_engine.process_notes WHERE kind = 'late_result'", 1)
        assert await stage.log_of(process_id) == [("1", "success"), ("2", "abort")]


async def test_what_is_asked_of_a_held_start_waits_as_long_as_it(topics: Settings) -> None:
    """However long the engine is paused."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        await stage.event("command.accepted", await stage.command("PauseEngine"))
        process_id = uuid4()
        await stage.command("StartProcess", process_id, workflow="two_steps", hold=True)
        await stage.until("SELECT count(*) FROM stepwire_engine.commands WHERE status = 'held'", 1)
        abort = await stage.command("AbortProcess", process_id)
        nobody = await stage.command("AbortProcess", uuid4())
        await stage.until("SELECT count(*) FROM stepwire_engine.commands WHERE status = 'held'", 3)
        await stage.execute("UPDATE stepwire_engine.commands SET received_at = received_at - interval '11 seconds'")
        await stage.event("command.rejected", nobody)
        await stage.event("command.accepted", await stage.command("UnpauseEngine"))
        await stage.event("command.accepted", abort)
        await stage.event("process.aborted", process_id)


async def test_a_command_for_an_unknown_process_is_kept_and_then_refused(topics: Settings) -> None:
    """It may be on its way; after ten seconds the sender is told."""
    async with Stage(topics) as stage:
        process_id = uuid4()
        command_id = await stage.command("ResumeProcess", process_id)
        await stage.until("SELECT status FROM stepwire_engine.commands", "held")
        await stage.execute("UPDATE stepwire_engine.commands SET received_at = received_at - interval '11 seconds'")
        refused = await stage.event("command.rejected", command_id)
        assert refused["data"]["reason"] == "unknown_process"
