"""Starts that an executor checks before they are accepted."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stepwire.chassis.settings import Settings
from tests.coordinator.flows import modify_with_form, with_form
from tests.coordinator.stage import Stage

ERRORS = [{"loc": ["x"], "msg": "must be even", "type": "value_error"}]
FAULT = {"class_name": "FormInvalid", "message": "invalid", "reason": "invalid_input", "errors": ERRORS}


async def _checking(stage: Stage, **fields: Any) -> tuple[str, UUID, dict[str, Any]]:
    command_id = await stage.command("StartProcess", workflow="with_form", user_inputs=[{"x": 1}], **fields)
    row = (
        await stage.wait_for("SELECT process_id FROM stepwire_engine.processes WHERE command_id = :c", c=command_id)
    )[0]
    run = await stage.run_of(row.process_id)
    assert (run["node"], run["user_inputs"]) == ("0", [{"x": 1}])
    return command_id, row.process_id, run


async def test_the_answer_comes_only_after_the_check(topics: Settings) -> None:
    """Until then the command is pending, and a repeat of it waits for the same answer."""
    async with Stage(topics) as stage:
        await stage.offer(with_form.manifest)
        command_id, process_id, run = await _checking(stage)
        await stage.command("StartProcess", workflow="with_form", user_inputs=[{"x": 1}], command_id=command_id)
        _, other, _ = await _checking(stage)
        assert await stage.answers(command_id) == []
        sql = "SELECT status FROM stepwire_engine.commands WHERE command_id = :c"
        assert [row[0] for row in await stage.rows(sql, c=command_id)] == ["pending"]
        assert (await stage.status(process_id, "created")).log_seq == 0
        await stage.report(run, "0", delta={"set": {"x": 2, "process_id": "mine"}})
        first = await stage.run_of(process_id, after_epoch=run["epoch"])
        assert (first["node"], first["state"]["x"], first["state"]["process_id"]) == ("2", 2, str(process_id))
        await stage.event("command.accepted", command_id)
        words = [e["type"].removeprefix("stepwire.") for e in await stage.events_of(process_id)]
        assert words == ["command.accepted", "process.created", "process.started"]
        assert len(await stage.answers(command_id)) == 1
        assert (await stage.status(other, "created")).runnable


async def test_a_refused_start_tells_its_errors_and_occupies_nothing(topics: Settings) -> None:
    """It stays for the record as rejected, without an event of a process."""
    async with Stage(topics) as stage:
        await stage.offer(with_form.manifest)
        command_id, process_id, run = await _checking(stage)
        await stage.report(run, "0", "rejected", error=FAULT)
        refused = await stage.event("command.rejected", command_id)
        assert (refused["data"]["reason"], refused["data"]["errors"]) == ("invalid_input", ERRORS)
        row = await stage.status(process_id, "rejected")
        assert (row.runnable, list(row.held_locks), row.callback_key) == (False, [], None)
        assert await stage.log_of(process_id) == []
        words = [e["type"] for e in await stage.events_of(process_id)]
        assert words == ["stepwire.command.rejected"]
        again = await stage.command("StartProcess", workflow="with_form", user_inputs=[{"x": 1}], command_id=command_id)
        second = await stage.event("command.rejected", again, count=2)
        assert second["id"] == refused["id"]


async def test_a_check_that_gives_no_uuid_for_its_subscription_harms_nobody(topics: Settings) -> None:
    """The form's output is the author's; the process starts without a subscription."""
    async with Stage(topics) as stage:
        await stage.offer(with_form.manifest)
        _, process_id, run = await _checking(stage)
        await stage.report(run, "0", delta={"set": {"subscription_id": "none"}})
        row = await stage.status(process_id, "running")
        assert row.subscription_id is None


async def test_an_abort_during_the_check_refuses_the_start(topics: Settings) -> None:
    """Both commands are answered, and the check's late verdict changes nothing."""
    async with Stage(topics) as stage:
        await stage.offer(with_form.manifest)
        command_id, process_id, run = await _checking(stage)
        abort = await stage.command("AbortProcess", process_id, user="jane")
        await stage.event("command.accepted", abort)
        refused = await stage.event("command.rejected", command_id)
        assert refused["data"]["reason"] == "wrong_status"
        await stage.report(run, "0")
        await stage.until("SELECT count(*) FROM stepwire_engine.process_notes WHERE kind = 'late_result'", 1)
        await stage.status(process_id, "rejected")


async def test_the_answer_after_a_check_reaches_the_topic_asked_for(topics: Settings) -> None:
    """The command is long forgotten when its answer is decided."""
    replies = topics.topic("crm.answers")
    admin = AIOKafkaAdminClient(bootstrap_servers=topics.kafka_bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(replies, 1, 1)])
    await admin.close()
    async with Stage(topics) as stage:
        await stage.offer(with_form.manifest)
        command_id, _, run = await _checking(stage, reply_to=replies)
        await stage.report(run, "0")
        answer = await stage.event("command.accepted", command_id)
        assert await stage.first_record(replies) == answer


async def test_a_refused_start_may_be_sent_again_under_its_process(topics: Settings) -> None:
    """What the refused one left is only the record of a refusal; neither its claim nor its result stands in the way."""
    async with Stage(topics) as stage:
        await stage.offer(modify_with_form.manifest)
        wanted, executor, subscription_id = uuid4(), uuid4(), await stage.subscribe()
        asked = {"process_id": str(wanted), "subscription_id": str(subscription_id)}
        await stage.beat(executor, lease_seconds=600.0)
        await stage.command("StartProcess", workflow="modify_with_form", **asked)
        run = await stage.run_of(wanted)
        await stage.claim(run, executor)
        await stage.report(run, "0", "rejected", error=FAULT)
        await stage.status(wanted, "rejected")
        second = await stage.command("StartProcess", workflow="modify_with_form", **asked)
        again = await stage.run_of(wanted, after_epoch=run["epoch"])
        await stage.claim(again, executor)
        await stage.report(run, "0", "rejected", error=FAULT)
        await stage.report(again, "0")
        await stage.event("command.accepted", second)
        assert (await stage.status(wanted, "running")).command_id == second
        numbers = [e["sequence"] for e in await stage.events_of(wanted) if "sequence" in e]
        assert numbers == list(range(1, len(numbers) + 1))
