"""A run from its claim to the result that ends it."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from stepwire.chassis.kafka import Outgoing
from stepwire.contracts.commands import process_id_of
from stepwire.contracts.tokens import read_token, verify_token
from stepwire.contracts.tracing import derived_traceparent
from tests.executor import flows
from tests.executor.harness import Dispatch, Harness


async def test_a_run_goes_on_until_the_coordinator_must_act(harness: Harness) -> None:
    """Five steps give five results, and the run ends silently before Done."""
    run = Dispatch("five_steps", state={"count": 0})
    async with harness.executor():
        await harness.dispatch(run)
        results = await harness.wait_results(run, 5)
    assert [(r.node, r.status) for r in results] == [(str(n), "success") for n in range(2, 7)]
    assert [r.delta.set for r in results] == [{"count": n} for n in range(1, 6)]
    assert {r.epoch for r in results} == {1}
    assert len(harness.of(run)) == 5
    assert harness.exit_code == 0


async def test_sync_and_async_steps_see_each_others_results(harness: Harness) -> None:
    """State travels between threads and loops."""
    run = Dispatch("mixed")
    async with harness.executor():
        await harness.dispatch(run)
        results = await harness.wait_results(run, 3)
    assert [r.delta.set["count"] for r in results] == [1, 2, 3]


async def test_a_failure_ends_the_run_and_tells_why(harness: Harness) -> None:
    """The failing step's result carries class, message and traceback; nothing behind it is executed."""
    run = Dispatch("failing")
    async with harness.executor():
        await harness.dispatch(run)
        results = await harness.wait_results(run, 2)
    assert harness.statuses(run) == [("2", "success"), ("3", "failed")]
    assert results[1].error.message == "this step fails"
    assert results[1].error.class_name == "ValueError"
    assert "def fail" in results[1].error.traceback or "fail" in results[1].error.traceback


async def test_a_retrystep_waits_as_its_policy_says(harness: Harness) -> None:
    """The result says when to try again."""
    run = Dispatch("retried", attempt=2)
    async with harness.executor() as executor:
        await harness.dispatch(run)
        results = await harness.wait_results(run, 1)
    assert (results[0].status, results[0].retry_after_seconds, results[0].attempt) == ("waiting", 6, 2)
    metrics = executor.chassis.metrics.render().decode()
    labels = 'step="Fail for a while",workflow="retried"'
    assert f"stepwire_step_retries_total{{{labels}}} 1.0" in metrics
    assert f'stepwire_step_duration_seconds_count{{result="waiting",{labels}}} 1.0' in metrics


async def test_state_is_read_with_the_claim_where_the_record_has_none(harness: Harness) -> None:
    """A large State is not in the record but in the snapshot."""
    run = Dispatch("five_steps", state={"count": 41}, inline=False)
    async with harness.executor():
        await harness.dispatch(run)
        results = await harness.wait_results(run, 5)
    assert results[0].delta.set == {"count": 42}


async def test_what_a_step_wrote_commits_with_its_outcome(harness: Harness) -> None:
    """Rows of sync and async steps are there, with an outcome each; a step that only read has none."""
    run = Dispatch("writing")
    async with harness.executor():
        await harness.dispatch(run)
        results = await harness.wait_results(run, 3)
    assert [r.status for r in results] == ["success"] * 3
    assert results[2].delta.set == {"rows": 2}
    rows = await harness.sql("SELECT node, status FROM stepwire_engine.step_outcomes ORDER BY node")
    assert [tuple(row) for row in rows] == [("2", "success"), ("3", "success")]


async def test_conditions_skip_steps_and_are_told_for_nodes_of_the_engine(harness: Harness) -> None:
    """A skipped step is reported; at a conditional node of the engine the condition's answer ends the run."""
    unwanted, wanted = Dispatch("conditions"), Dispatch("conditions", state={"wanted": True})
    async with harness.executor():
        await harness.dispatch(unwanted, wanted)
        not_reached = (await harness.wait_results(unwanted, 3))[2]
        reached = (await harness.wait_results(wanted, 3))[2]
    assert harness.statuses(unwanted)[:2] == [("2", "skipped"), ("3", "success")]
    assert harness.statuses(wanted)[:2] == [("2", "success"), ("3", "success")]
    assert (not_reached.type, not_reached.node, not_reached.condition) == ("EngineNodeReached", "4", False)
    assert reached.condition is True


async def test_the_name_of_a_lock_is_told_where_state_has_it(harness: Harness) -> None:
    """The run ends at the node with the name; where State has none, the node fails with what is missing."""
    named, nameless = Dispatch("named_lock", state={"site": "ams"}), Dispatch("named_lock")
    async with harness.executor():
        await harness.dispatch(named, nameless)
        reached = (await harness.wait_results(named, 2))[1]
        failed = (await harness.wait_results(nameless, 2))[1]
    assert (reached.type, reached.node, reached.condition) == ("EngineNodeReached", "3", True)
    assert reached.arguments["lock"] == "vlan-pool:ams"
    assert (failed.type, failed.node, failed.status) == ("StepReported", "3", "failed")
    assert "'site'" in failed.error.message


async def test_a_callback_step_hands_out_its_route_and_keeps_no_trace_of_it(harness: Harness) -> None:
    """The action sees a route with a token that verifies; what is stored of it is a placeholder."""
    run = Dispatch("calling_back", node="2.1")
    async with harness.executor():
        await harness.dispatch(run)
        (result,) = await harness.wait_results(run, 1)
    route = flows.effects["routes"][-1]
    assert route.startswith(f"/api/processes/{run.process_id}/callback/")
    token = read_token(route.rpartition("/")[2])
    assert (token.node, token.attempt, verify_token(b"k" * 32, token)) == ("2", 1, True)
    assert (result.node, result.status, result.timeout_seconds) == ("2.1", "awaiting_callback", 60)
    assert result.delta.set == {"ordered": "<callback route>"}


async def test_a_run_goes_on_behind_a_callback(harness: Harness) -> None:
    """The validation is sub-step 2; behind it the next node follows."""
    run = Dispatch("calling_back", node="2.2", state={"callback_result": {"serial": "X1"}})
    async with harness.executor():
        await harness.dispatch(run)
        results = await harness.wait_results(run, 2)
    assert [(r.node, r.status, r.delta.set) for r in results] == [
        ("2.2", "success", {"serial": "X1"}),
        ("3", "success", {"count": 1}),
    ]


async def test_a_condition_around_a_callback_step_skips_all_of_it(harness: Harness) -> None:
    """One skipped node is reported, and the action is not called."""
    called = len(flows.effects["routes"])
    run = Dispatch("maybe_calling_back", node="2.1")
    async with harness.executor():
        await harness.dispatch(run)
        await harness.wait_results(run, 2)
    assert harness.statuses(run) == [("2", "skipped"), ("3", "success")]
    assert len(flows.effects["routes"]) == called


async def test_a_form_that_wrote_while_it_asked_takes_its_answer(harness: Harness) -> None:
    """The asking leaves no outcome, which would be published in place of the answer."""
    asked = Dispatch("asking_in_writing")
    async with harness.executor():
        await harness.dispatch(asked)
        await harness.wait_results(asked, 1)
        assert await harness.sql("SELECT label FROM effects") == []
        await harness.sql("UPDATE stepwire_engine.processes SET epoch = 2")
        answer = Dispatch("asking_in_writing", process_id=asked.process_id, epoch=2, user_inputs=[{"confirmed": True}])
        await harness.producer.send_all([harness.record(answer)])
        results = await harness.wait_results(asked, 2)
    assert [(r.node, r.status) for r in results] == [("2", "suspend"), ("2", "success")]
    assert results[1].delta.set == {"confirmed": True}
    assert len(await harness.sql("SELECT label FROM effects")) == 1


async def test_an_input_step_suspends_with_its_form(harness: Harness) -> None:
    """The result carries the form's schema and who is to act."""
    run = Dispatch("asking")
    async with harness.executor():
        await harness.dispatch(run)
        (result,) = await harness.wait_results(run, 1)
    assert (result.status, result.assignee) == ("suspend", "NOC")
    assert "confirmed" in result.form["properties"]


async def test_input_is_merged_refused_or_not_allowed(harness: Harness) -> None:
    """Valid pages go on under the name of who gave them; bad ones and a stranger's change nothing."""
    good = Dispatch("asking", user_inputs=[{"confirmed": True}], user="jane")
    bad = Dispatch("asking", user_inputs=[{"confirmed": "perhaps"}], user="jane")
    missing = Dispatch("asking", user_inputs=[], user="jane")
    stranger = Dispatch("asking", user_inputs=[{"confirmed": True}], user="mallory")
    async with harness.executor():
        await harness.dispatch(good, bad, missing, stranger)
        taken = await harness.wait_results(good, 2)
        refused = [(await harness.wait_results(one, 1))[0] for one in (bad, missing, stranger)]
    assert (taken[0].delta.set, taken[0].created_by, taken[1].status) == ({"confirmed": True}, "jane", "success")
    assert [(r.status, r.error.reason) for r in refused] == [
        ("rejected", "invalid_input"),
        ("rejected", "invalid_input"),
        ("rejected", "not_allowed"),
    ]
    assert refused[0].error.errors[0]["loc"] == ["confirmed"]


async def test_the_start_check_asks_form_predicate_and_authorisation(harness: Harness) -> None:
    """Node 0 answers with what the form returned, or says who refused and why."""
    pages: list[dict[str, Any]] = [{"product": "earth"}, {"size": 3}]
    cases = {
        "good": Dispatch("with_form", node="0", user_inputs=pages),
        "missing": Dispatch("with_form", node="0", user_inputs=pages[:1]),
        "invalid": Dispatch("with_form", node="0", user_inputs=[{"product": "earth"}, {"size": "large"}]),
        "predicate": Dispatch("with_form", node="0", user_inputs=[{"product": "moon"}, {"size": 3}]),
        "stranger": Dispatch("with_form", node="0", user_inputs=pages, user="mallory"),
    }
    async with harness.executor():
        await harness.dispatch(*cases.values())
        found = {name: (await harness.wait_results(case, 1))[0] for name, case in cases.items()}
    assert found["good"].status == "success"
    assert found["good"].delta.set == {"product": "earth", "size": 3, "known": 0, "asked_by": "tester"}
    refusals = {name: result.error.reason for name, result in found.items() if name != "good"}
    assert refusals == {
        "missing": "invalid_input",
        "invalid": "invalid_input",
        "predicate": "predicate_failed",
        "stranger": "not_allowed",
    }
    assert found["predicate"].error.message == "no moon today"
    assert found["invalid"].error.errors[0]["loc"] == ["size"]


async def test_the_lock_step_keeps_a_backup_of_the_subscription(harness: Harness) -> None:
    """A run granted the lock begins with the visible step, and sets the status later."""
    (row,) = await harness.sql("INSERT INTO subscriptions (description) VALUES ('node') RETURNING subscription_id")
    subscription_id = UUID(str(row[0]))
    state = {"subscription_id": str(subscription_id)}
    run = Dispatch("locking", node="3", granted=True, state=state, subscription_id=subscription_id)
    async with harness.executor():
        await harness.dispatch(run)
        results = await harness.wait_results(run, 3)
    backup = results[0].delta.set["__old_subscriptions__"][str(subscription_id)]
    assert (backup["description"], backup["status"], backup["insync"]) == ("node", "initial", False)
    assert [r.node for r in results] == ["3", "4", "5"]
    ((status, started),) = await harness.sql("SELECT status, start_date IS NOT NULL FROM subscriptions")
    assert (status, started) == ("active", True)


async def test_the_lock_step_fails_where_there_is_no_subscription(harness: Harness) -> None:
    """It names the id that is unknown."""
    unknown = uuid4()
    run = Dispatch("locking", node="3", granted=True, subscription_id=unknown)
    async with harness.executor():
        await harness.dispatch(run)
        (result,) = await harness.wait_results(run, 1)
    assert result.status == "failed"
    assert str(unknown) in result.error.message


async def test_a_lock_node_met_in_a_run_is_left_to_the_coordinator(harness: Harness) -> None:
    """The result before it ends the run."""
    run, behind = Dispatch("locking"), Dispatch("five_steps")
    async with harness.executor():
        await harness.dispatch(run)
        await harness.wait_results(run, 1)
        await harness.dispatch(behind)
        await harness.wait_results(behind, 5)
    assert harness.statuses(run) == [("2", "success")]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("nan", "state['value'][0]"),
        ("nul", "NUL"),
        ("keys", "keys must be text"),
        ("lambda", "function"),
        ("huge", "'large'"),
    ],
)
async def test_what_cannot_be_stored_fails_its_step_and_nothing_is_committed(
    harness: Harness, kind: str, told: str
) -> None:
    """The reason names the place; what the step wrote is gone."""
    run = Dispatch("bad_results", state={"kind": kind})
    async with harness.executor():
        await harness.dispatch(run)
        (result,) = await harness.wait_results(run, 1)
    assert result.status == "failed"
    assert told in result.error.message
    assert await harness.sql("SELECT 1 FROM effects") == []
    assert await harness.sql("SELECT 1 FROM stepwire_engine.step_outcomes") == []


async def test_state_grows_until_its_limit_and_no_further(harness: Harness) -> None:
    """State as a whole is limited; the message names its largest key, which an earlier step has set."""
    run = Dispatch("five_steps", state={"count": 9, "ballast": "x" * 2000})
    async with harness.executor(state_max_bytes=1000):
        await harness.dispatch(run)
        (result,) = await harness.wait_results(run, 1)
    assert result.status == "failed"
    assert "'ballast'" in result.error.message
    assert "STEPWIRE_STATE_MAX_BYTES" in result.error.message


async def test_the_size_of_state_is_known_after_every_step(harness: Harness) -> None:
    """What is counted along is what State has as JSON."""
    run = Dispatch("five_steps", state={"count": 7, "other": ["ä", None]})
    async with harness.executor():
        await harness.dispatch(run)
        results = await harness.wait_results(run, 5)
    sizes = [len(orjson.dumps({"count": n, "other": ["ä", None]})) for n in range(8, 13)]
    assert [r.state_bytes for r in results] == sizes


async def test_a_step_of_another_queue_ends_the_run(harness: Harness) -> None:
    """The coordinator dispatches it to that queue."""
    run, behind = Dispatch("two_queues"), Dispatch("five_steps")
    async with harness.executor():
        await harness.dispatch(run)
        await harness.wait_results(run, 1)
        await harness.dispatch(behind)
        await harness.wait_results(behind, 5)
    assert harness.statuses(run) == [("2", "success")]


async def test_a_step_that_exits_fails_and_the_executor_lives(harness: Harness) -> None:
    """sys.exit() in an author's code is an error like any other."""
    run, behind = Dispatch("exiting"), Dispatch("five_steps")
    async with harness.executor(executor_threads=1):
        await harness.dispatch(run, behind)
        (result,) = await harness.wait_results(run, 1)
        await harness.wait_results(behind, 5)
    assert (result.status, result.error.class_name) == ("failed", "SystemExit")


async def test_a_step_starts_processes_with_its_commit_and_tells_of_its_progress(harness: Harness) -> None:
    """The commands have ids that follow from the step, and a coordinator is told of them."""
    run = Dispatch("starting")
    async with harness.executor():
        await harness.dispatch(run)
        await harness.until(lambda: ("2", "success") in harness.statuses(run))
    told = [r.progress for r in harness.of(run) if r.type == "StepProgressed"]
    assert told[-1] == {"percent": 99}
    started = next(r for r in harness.of(run) if r.type == "StepReported").delta.set["started"]
    rows = await harness.sql(
        "SELECT command_id, process_id, status, body FROM stepwire_engine.commands ORDER BY command_id"
    )
    # What a process starts belongs to its trace.
    assert {orjson.loads(row.body)["traceparent"] for row in rows} == {derived_traceparent(run.process_id)}
    assert [(row[0], str(row[1]), row[2]) for row in rows] == [
        (f"{run.process_id}/2/1/{n}", str(process_id_of(f"{run.process_id}/2/1/{n}")), "received") for n in (1, 2)
    ]
    assert [str(row[1]) for row in rows] == started


async def test_a_large_poll_is_run_by_a_small_executor(harness: Harness) -> None:
    """An executor with two slots pauses when it is full, and gets through all of it."""
    runs = [Dispatch("five_steps") for _ in range(40)]
    async with harness.executor(executor_max_runs=2, executor_threads=2):
        await harness.dispatch(*runs)
        for run in runs:
            await harness.wait_results(run, 5)


async def _letter_about(key: bytes | None, letters: Any) -> Any:
    """The next dead letter with this key: what an executor before this one put aside may come once more."""
    async for letter in letters:
        if letter.key == key:
            return letter
    return None


async def test_a_poison_record_that_fills_the_topic_is_put_aside_too(harness: Harness) -> None:
    """With its headers it would be too large: what fits is kept, with its length, and the rest goes on."""
    topic, most = harness.settings.topic("step.commands"), harness.settings.max_message_bytes
    run, poison = Dispatch("five_steps"), b"\xff" * (most - 150)
    await harness.insert(run)
    good = harness.record(run)
    async with harness.executor(), harness.tail("step.commands.dlq") as letters:
        await harness.producer.send_all([Outgoing(topic, poison, good.key), good])
        await harness.wait_results(run, 5)
        letter = await _letter_about(good.key, letters)
    assert dict(letter.headers)["x-length"] == str(len(poison)).encode()
    assert 0 < len(letter.value or b"") < len(poison)


async def test_a_poison_record_is_put_aside_and_the_rest_goes_on(harness: Harness) -> None:
    """The dead letter has value and key as they came, and headers that say where from."""
    topic = harness.settings.topic("step.commands")
    run = Dispatch("five_steps")
    await harness.insert(run)
    good = harness.record(run)
    async with harness.executor(), harness.tail("step.commands.dlq") as letters:
        await harness.producer.send_all([Outgoing(topic, b"{not json", good.key), good])
        await harness.wait_results(run, 5)
        letter = await _letter_about(good.key, letters)
    headers = dict(letter.headers)
    assert (letter.value, letter.key) == (b"{not json", good.key)
    assert headers["traceparent"].decode() == derived_traceparent(run.process_id)
    assert (headers["x-error"], headers["x-topic"]) == (b"malformed", topic.encode())
    assert {"x-partition", "x-offset", "x-time"} <= set(headers)
