"""Records that cannot be read, stored or applied: each costs only its own sender or process."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stepwire.chassis.settings import Settings
from tests.coordinator.flows import two_steps, with_callback, with_form, with_input
from tests.coordinator.stage import Stage

COMPLETE = [("1", "success"), ("2", "success"), ("3", "success"), ("4", "complete")]
FORGED: dict[str, tuple[dict[str, Any], str]] = {
    "NUL deep inside": ({"delta": {"set": {"a": [{"b": "x\x00y"}]}}}, "'delta.set.a[0].b' contains NUL"),
    "a name with NUL": ({"delta": {"set": {"a\x00": 1}}}, "contains NUL"),
    "an integer too large": ({"delta": {"set": {"a": 2**70}}}, "Integer exceeds 64-bit range"),
    "a size too large for its column": ({"state_bytes": 2**40}, "it cannot be applied"),
    "a delay beyond all time": ({"status": "waiting", "retry_after_seconds": 1e300}, "cannot be applied"),
    "a status nobody knows": ({"status": "sleeping"}, "the result is malformed: status"),
    "a delta of another type": ({"delta": [1]}, "the result is malformed: delta"),
    "no time": ({"started_at": "yesterday"}, "the result is malformed: started_at"),
}


@pytest.mark.parametrize("forged", FORGED)
async def test_a_result_that_can_never_be_applied_fails_its_process_alone(topics: Settings, forged: str) -> None:
    """In the middle of a batch of fifty: all others complete, and a retry of the failed one does, too."""
    fields, reason = FORGED[forged]
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        processes = await asyncio.gather(*(stage.start("two_steps") for _ in range(50)))
        runs = {p: await stage.run_of(p) for p in processes}
        bad = processes[25]
        status = fields.get("status", "success")
        rest = {key: value for key, value in fields.items() if key != "status"}
        reports = [
            stage.report(runs[p], "2", status if p == bad else "success", **(rest if p == bad else {}))
            for p in processes
        ]
        await asyncio.gather(*reports)
        await asyncio.gather(*(stage.report(runs[p], "3") for p in processes if p != bad))
        await asyncio.gather(*(stage.event("process.completed", p) for p in processes if p != bad))
        failed = await stage.status(bad, "failed")
        assert reason in failed.failed_reason
        assert (failed.node, failed.attempt) == ("2", 1)
        letter = await stage.dead_letter("step.results")
        assert letter.key == str(bad).encode()
        assert [await stage.log_of(p) for p in processes if p != bad] == [COMPLETE] * 49
        await stage.command("ResumeProcess", bad)
        again = await stage.run_of(bad, after_epoch=runs[bad]["epoch"])
        assert (again["node"], again["attempt"]) == ("2", 2)
        await stage.report(again, "2")
        await stage.report(again, "3")
        await stage.event("process.completed", bad)


async def test_a_result_nobody_can_place_is_a_dead_letter(topics: Settings) -> None:
    """An unknown node, a node that is no path, no process, another process: nobody fails for it."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        process_id = await stage.start("two_steps")
        run = await stage.run_of(process_id)
        await stage.report(run, "two")
        await stage.report({**run, "process_id": "nobody"}, "2")
        await stage.report({**run, "process_id": str(uuid4())}, "2")
        await stage.report({**run, "epoch": "first"}, "2")
        await stage.send("step.results", b'["a", "list"]', str(process_id))
        await stage.report(run, "2")
        await stage.report(run, "3")
        await stage.event("process.completed", process_id)
        assert await stage.log_of(process_id) == COMPLETE
        async with asyncio.timeout(60):
            while len(stage.letters("step.results")) < 4:
                await stage.tick()
        reasons = {dict(letter.headers)["x-error"] for letter in stage.letters("step.results")}
        assert reasons <= {b"malformed", b"not_applicable"}


async def test_a_result_for_a_refused_input_check_answers_the_sender(topics: Settings) -> None:
    """Input under check whose verdict is unusable: its sender is told, the process fails there."""
    async with Stage(topics) as stage:
        await stage.offer(with_input.manifest)
        process_id = await stage.start("with_input")
        run = await stage.run_of(process_id)
        await stage.report(run, "2", "suspend", form={}, assignee="NOC")
        await stage.status(process_id, "suspended")
        command_id = await stage.command("ResumeProcess", process_id, user_inputs=[{"x": 1}])
        check = await stage.run_of(process_id, after_epoch=run["epoch"])
        await stage.report(check, "2", delta={"set": {"a": 2**70}})
        refused = await stage.event("command.rejected", command_id)
        assert "64-bit" in refused["data"]["detail"]
        await stage.status(process_id, "failed")


async def test_an_unusable_verdict_on_a_start_refuses_it(topics: Settings) -> None:
    """The sender is told, the process is rejected."""
    async with Stage(topics) as stage:
        await stage.offer(with_form.manifest)
        command_id = await stage.command("StartProcess", workflow="with_form", user_inputs=[{}])
        row = (await stage.wait_for("SELECT process_id FROM stepwire_engine.processes"))[0]
        check = await stage.run_of(row.process_id)
        await stage.report(check, "0", delta={"set": {"a": "\x00"}})
        refused = await stage.event("command.rejected", command_id)
        assert "contains NUL" in refused["data"]["detail"]
        await stage.status(row.process_id, "rejected")


BAD_COMMANDS: dict[str, dict[str, Any]] = {
    "NUL": {"user_inputs": [{"x": ["\x00"]}]},
    "not a number": {"user_inputs": [{"x": float("nan")}]},
    "an integer too large": {"user_inputs": [{"x": 2**70}]},
    "labels that are no text": {"labels": {"a": 1}},
    "a label with NUL": {"labels": {"a\x00": "b"}},
    "pages that are no list": {"user_inputs": "x"},
    "a process id that is none": {"process_id": "x"},
    "a priority beyond all": {"priority": 10**9},
    "labels that are large": {"labels": {"a": "x" * 20_000}},
    "a reporter that is large": {"reporter": "é" * 251},
    "a source that is large": {"source": "x" * 501},
}


async def test_bad_commands_are_answered_and_what_follows_goes_on(topics: Settings) -> None:
    """Legible with a command_id: rejected with the reason; the good one behind them on the partition starts."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        for name, fields in BAD_COMMANDS.items():
            record = {"type": "StartProcess", "command_id": name, "workflow": "two_steps", **fields}
            await stage.send("process.commands", _json(record), "one key")
        reporter = secrets.token_hex(250)
        good = {"type": "StartProcess", "command_id": "good", "workflow": "two_steps", "reporter": reporter}
        await stage.send("process.commands", good, "one key")
        accepted = await stage.event("command.accepted", "good")
        for name in BAD_COMMANDS:
            refused = await stage.event("command.rejected", name)
            wanted = "too_large" if name.endswith(("are large", "is large")) else "malformed"
            assert refused["data"]["reason"] == wanted
        assert stage.letters("process.commands") == []
        process_id = UUID(accepted["data"]["process_id"])
        await stage.command("AbortProcess", process_id)
        await stage.status(process_id, "aborted")


async def test_bad_callbacks_are_dead_letters_and_a_good_one_behind_them_is_used(
    topics: Settings, callback: Any
) -> None:
    """Progress beside a callback in one batch harms neither."""
    async with Stage(topics) as stage:
        await stage.offer(with_callback.manifest)
        process_id, other = [await stage.start("with_callback") for _ in range(2)]
        runs = {p: await stage.run_of(p) for p in (process_id, other)}
        for p, run in runs.items():
            await stage.report(run, "2.1", "awaiting_callback")
            await stage.status(p, "awaiting_callback")
        bad: list[dict[str, Any]] = [
            callback(uuid4(), "2", 1),
            callback(process_id, "2", 1, payload=[1]),
            callback(process_id, "2", 1, payload={"a": {"b": "\x00"}}),
            callback(process_id, "2", 1, payload={"a": 2**70}),
            callback(process_id, "2", 1, token="x" * 121),
            callback(process_id, "2", 1, token="!"),
            callback(process_id, "3", 1, secret="forged"),
        ]
        progress = {**callback(other, "2", 1), "type": "CallbackProgress", "progress": "50 %"}
        records = [*bad, progress, callback(process_id, "2", 1), callback(process_id, "2", 1, payload={"y": 2})]
        await asyncio.gather(*(stage.send("callbacks", _json(record), "one key") for record in records))
        again = await stage.run_of(process_id, after_epoch=runs[process_id]["epoch"])
        assert again["state"]["callback_result"] in ({"x": 1}, {"y": 2})
        async with asyncio.timeout(60):
            while len(stage.letters("callbacks")) < len(bad) + 1:
                await stage.tick()
        reasons = sorted(dict(letter.headers)["x-error"].decode() for letter in stage.letters("callbacks"))
        assert reasons == ["different_body", *["malformed"] * 4, "unknown_process", "wrong_token", "wrong_token"]
        assert (await stage.status(other, "awaiting_callback")).progress == "50 %"


async def test_a_poison_record_as_large_as_kafka_takes_is_cut_to_fit(topics: Settings) -> None:
    """With its headers it would be too large for the dead letters; it says how long it was."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        poison = b"\xff" * (topics.max_message_bytes - 150)
        await stage.send("process.commands", poison, "k")
        await stage.send(
            "process.commands", {"type": "StartProcess", "command_id": "good", "workflow": "two_steps"}, "k"
        )
        await stage.event("command.accepted", "good")
        letter = await stage.dead_letter("process.commands")
        assert dict(letter.headers)["x-length"] == str(len(poison)).encode()
        assert poison.startswith(letter.value)


async def test_a_reply_topic_costs_at_most_its_own_answer(topics: Settings) -> None:
    """One that exists gets the answer; a missing, an illegal and one of ours do not, and hold up nobody."""
    replies = topics.topic("crm.answers")
    admin = AIOKafkaAdminClient(bootstrap_servers=topics.kafka_bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(replies, 1, 1)])
    await admin.close()
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        refused = [topics.topic("nobody.has.this"), "not a topic!", "x" * 300, "__consumer_offsets", "process.commands"]
        commands = [
            await stage.command("StartProcess", workflow="two_steps", reply_to=topic) for topic in (*refused, replies)
        ]
        answers = [await stage.event("command.accepted", command_id) for command_id in commands]
        assert await stage.first_record(replies) == answers[-1]
        await stage.until("SELECT count(*) FROM stepwire_engine.outbox", 0)


def _json(value: Any) -> bytes:
    """JSON that also has what JSON has not: orjson writes neither NaN nor integers of any size."""
    return json.dumps(value).encode()
