"""Which runs an executor takes, and which it leaves."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import orjson
import pytest

from stepwire.data import claims
from stepwire.data.claims import Claimed
from stepwire_executor import fetching
from tests.executor import flows
from tests.executor.harness import Dispatch, Harness

HOUR_SECONDS = 3600.0
AGED = """
UPDATE stepwire_engine.processes SET dispatched_at = clock_timestamp() - make_interval(secs => :age)
WHERE process_id = :id
"""
CLAIMED = "SELECT count(*) FROM stepwire_engine.run_claims WHERE process_id = :process_id"


async def test_only_a_runnable_process_in_the_dispatched_epoch_is_claimed(harness: Harness) -> None:
    """Records of old epochs, of finished processes and for code we do not have are left alone."""
    stopped = Dispatch("five_steps", runnable=False)
    unfit = Dispatch("five_steps", prefix="another chain")
    good = Dispatch("five_steps")
    old = Dispatch("five_steps", epoch=3)
    async with harness.executor(fallback_after_seconds=600):
        await harness.insert(old)
        old.epoch = 2
        await harness.producer.send(harness.record(old))
        await harness.dispatch(stopped, unfit, good)
        await harness.wait_results(good, 5)
    assert {r.process_id for r in harness.results} == {good.process_id}


async def test_an_epoch_is_run_by_one_executor_however_often_it_is_sent(harness: Harness) -> None:
    """Two executors, each record three times: five results."""
    run = Dispatch("five_steps")
    behind = Dispatch("five_steps")
    async with harness.executor(), harness.executor():
        await harness.insert(run)
        await harness.producer.send_all([harness.record(run)] * 3)
        await harness.wait_results(run, 5)
        await harness.dispatch(behind)
        await harness.wait_results(behind, 5)
    assert len(harness.of(run)) == 5


async def _start_to_check(harness: Harness, **fields: Any) -> Dispatch:
    """A start whose pages only its command tells."""
    command_id = f"order-{uuid4()}"
    body = orjson.dumps({"user_inputs": [{"product": "earth"}, {"size": 2}], "reporter": "crm"})
    await harness.sql(
        "INSERT INTO stepwire_engine.commands (command_id, type, content_hash, body, status)"
        " VALUES (:id, 'StartProcess', '', CAST(:body AS bytea), 'pending')",
        id=command_id,
        body=body,
    )
    checked = Dispatch("with_form", node="0", age_seconds=10, pending_command=command_id, **fields)
    await harness.insert(checked)
    return checked


async def test_runs_nobody_took_come_from_the_database_by_priority_and_age(harness: Harness) -> None:
    """Without step.commands everything runs through the fallback queue, the pages of node 0 included."""
    checked = await _start_to_check(harness)
    runs = [Dispatch("five_steps", state={"count": 10}, age_seconds=10) for _ in range(20)]
    for one in runs:
        await harness.insert(one)
    async with harness.executor("executor.ignore_step_commands"):
        for run in runs:
            results = await harness.wait_results(run, 5)
            assert results[-1].delta.set == {"count": 15}
        (result,) = await harness.wait_results(checked, 1)
    assert (result.status, result.delta.set["product"]) == ("success", "earth")


async def test_a_young_run_is_left_to_kafka(harness: Harness) -> None:
    """The fallback takes what has waited longer than its setting."""
    young, old = Dispatch("five_steps"), Dispatch("five_steps", age_seconds=HOUR_SECONDS)
    await harness.insert(young)
    await harness.insert(old)
    async with harness.executor("executor.ignore_step_commands", fallback_after_seconds=HOUR_SECONDS / 2):
        await harness.wait_results(old, 5)
        assert await harness.sql(CLAIMED, process_id=young.process_id) == [(0,)]


async def test_nothing_is_claimed_while_the_engine_is_paused(harness: Harness) -> None:
    """A run under way stops before its next step and says so; another is not taken."""
    running, other = Dispatch("gated", state={"gate": "pause"}), Dispatch("five_steps", age_seconds=HOUR_SECONDS)
    async with harness.executor(fallback_after_seconds=60.0) as executor:
        await harness.dispatch(running)
        await harness.until(lambda: bool(flows.effects["pause"]))
        await harness.sql("UPDATE stepwire_engine.engine_settings SET paused = true")
        await harness.sql("NOTIFY stepwire_engine, 'paused'")
        await harness.until(lambda: executor.leases.paused)
        flows.gates["pause"].set()
        results = await harness.wait_results(running, 2)
        await harness.dispatch(other)
        await harness.until(lambda: executor.leases.paused)
        assert await harness.sql(CLAIMED, process_id=other.process_id) == [(0,)]
        # Not before the executor has heard of it: a run that it takes earlier ends at once, and here nobody is to
        # dispatch it again.
        await harness.sql(AGED, id=other.process_id, age=0)
        await harness.sql("UPDATE stepwire_engine.engine_settings SET paused = false")
        await harness.until(lambda: not executor.leases.paused)
        await harness.sql(AGED, id=other.process_id, age=HOUR_SECONDS)
        await harness.wait_results(other, 5)
    assert (results[0].status, results[1].type, results[1].reason, results[1].node) == (
        "success",
        "RunEnded",
        "pause",
        "3",
    )


async def test_a_pause_within_a_group_skips_nothing(harness: Harness) -> None:
    """The sub-step under way finishes; the run says where it stands, and from there the next one goes on."""
    run = Dispatch("gated_group", node="2.1", state={"gate": "group"})
    async with harness.executor() as executor:
        await harness.dispatch(run)
        await harness.until(lambda: bool(flows.effects["group"]))
        await harness.sql("UPDATE stepwire_engine.engine_settings SET paused = true")
        await harness.sql("NOTIFY stepwire_engine, 'paused'")
        await harness.until(lambda: executor.leases.paused)
        flows.gates["group"].set()
        ended = (await harness.wait_results(run, 2))[1]
        assert (ended.type, ended.reason, ended.node, ended.attempt) == ("RunEnded", "pause", "2.2", 1)
        await harness.sql("UPDATE stepwire_engine.engine_settings SET paused = false")
        # Taken before the executor has heard of it, the run would end at once, and nobody dispatches it again.
        await harness.until(lambda: not executor.leases.paused)
        await harness.sql("UPDATE stepwire_engine.processes SET epoch = 2, node = '2.2'")
        results = await harness.wait_results(run, 5)
    assert harness.statuses(run)[0] == ("2.1", "success")
    assert [(r.node, r.status, r.epoch) for r in results[2:]] == [(node, "success", 2) for node in ("2.2", "2.3", "3")]


async def test_a_revoked_run_stops_before_its_next_step(harness: Harness) -> None:
    """The word comes by NOTIFY; the result of the running step is sent, as it may become a note."""
    run = Dispatch("gated", state={"gate": "revoked"})
    async with harness.executor("unsafe.no_fence") as executor:
        await harness.dispatch(run)
        await harness.until(lambda: bool(flows.effects["revoked"]))
        await harness.sql(f"NOTIFY stepwire_revoked, '{run.process_id}:1'")
        (held,) = executor.runs.slots._runs.values()  # noqa: SLF001 - there is no other way to see the flag
        await harness.until(lambda: held.revoked)
        flows.gates["revoked"].set()
        await harness.until(lambda: executor.runs.slots.busy == 0)
    assert harness.statuses(run) == [("2", "success")]


async def test_a_run_lost_twice_has_the_executor_for_itself(harness: Harness) -> None:
    """Others end at their next step to make room, and nothing runs beside it."""
    long = Dispatch("gated", state={"gate": "beside"})
    alone = Dispatch("gated", alone=True, state={"gate": "alone"})
    async with harness.executor() as executor:
        await harness.dispatch(long)
        await harness.until(lambda: bool(flows.effects["beside"]))
        await harness.dispatch(alone)
        await harness.until(lambda: executor.runs.signals.making_room)
        assert await harness.sql(CLAIMED, process_id=alone.process_id) == [(0,)]
        flows.gates["beside"].set()
        results = await harness.wait_results(long, 2)
        await harness.until(lambda: bool(flows.effects["alone"]))
        assert executor.runs.slots.busy == 1
        flows.gates["alone"].set()
        await harness.wait_results(alone, 2)
    assert (results[1].type, results[1].reason) == ("RunEnded", "budget")


async def test_a_step_that_hangs_holds_up_neither_what_wants_to_be_alone_nor_the_rest(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no time limit, so it may never end; of two that hang, each keeps its place and no more."""
    monkeypatch.setattr(fetching, "ROOM_SECONDS", 0.0)
    hanging, behind = Dispatch("gated", state={"gate": "hangs"}), Dispatch("five_steps")
    alone, next_alone = (Dispatch("gated", alone=True, state={"gate": gate}) for gate in ("hangs alone", "ends"))
    flows.gates["ends"].set()
    async with harness.executor():
        await harness.dispatch(hanging)
        await harness.until(lambda: bool(flows.effects["hangs"]))
        await harness.dispatch(alone)
        await harness.until(lambda: bool(flows.effects["hangs alone"]))
        await harness.dispatch(next_alone)
        await harness.wait_results(next_alone, 1)
        await harness.dispatch(behind)
        await harness.wait_results(behind, 5)
        for gate in ("hangs", "hangs alone"):
            flows.gates[gate].set()


async def test_a_start_that_is_checked_alone_has_its_pages(harness: Harness) -> None:
    """Two executors lost in its check are no reason to refuse it for want of pages."""
    checked = await _start_to_check(harness, alone=True)
    async with harness.executor():
        (result,) = await harness.wait_results(checked, 1)
    assert (result.status, result.delta.set.get("product")) == ("success", "earth")


async def test_a_crowd_of_runs_lost_twice_waits_for_one_look(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two executors that died with a hundred runs each must not cost the last of them a look per run."""
    monkeypatch.setattr(fetching, "ALONE_SECONDS", 60.0)
    crowd = [Dispatch("five_steps", alone=True, age_seconds=10) for _ in range(3)]
    for each in crowd:
        await harness.insert(each)
    async with harness.executor():
        for each in crowd:
            # It ends at its next step: others wait for the room it takes.
            await harness.wait_results(each, 2)


async def test_a_run_ends_when_its_budget_is_spent(harness: Harness) -> None:
    """It makes progress by at least one step, then says where it stands."""
    run = Dispatch("five_steps")
    async with harness.executor(run_budget_seconds=0.000001):
        await harness.dispatch(run)
        results = await harness.wait_results(run, 2)
    assert (results[0].status, results[1].reason, results[1].node) == ("success", "budget", "3")


async def test_a_claim_whose_answer_was_lost_is_given_up(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was made, but nobody here knows: held for ever by a living executor, its run would never go on."""
    claim = claims.claim
    failed: list[list[Claimed]] = []

    async def claim_and_fail(*args: Any) -> list[Claimed]:
        claimed = await claim(*args)
        if not failed:
            failed.append(claimed)
            raise ConnectionResetError
        return claimed

    monkeypatch.setattr(claims, "claim", claim_and_fail)
    lost, behind = Dispatch("five_steps"), Dispatch("five_steps")
    async with harness.executor():
        await harness.dispatch(lost)
        ended = "SELECT count(ended_at) FROM stepwire_engine.run_claims WHERE process_id = :process_id"
        await harness.until_sql(ended, 1, process_id=lost.process_id)
        await harness.dispatch(behind)
        await harness.wait_results(behind, 5)
    assert harness.of(lost) == []


async def test_an_unusable_row_does_not_keep_others_from_running(harness: Harness) -> None:
    """A State that cannot be read costs only its own run."""
    broken, good = Dispatch("five_steps", inline=False), Dispatch("five_steps", inline=False)
    await harness.insert(broken)
    await harness.insert(good)
    await harness.sql(
        "UPDATE stepwire_engine.processes SET snapshot = 'no json' WHERE process_id = :id", id=broken.process_id
    )
    await harness.producer.send_all([harness.record(broken), harness.record(good)])
    async with harness.executor():
        await harness.wait_results(good, 5)
        await harness.until_sql(
            "SELECT count(ended_at) FROM stepwire_engine.run_claims WHERE process_id = :id", 1, id=broken.process_id
        )


async def test_an_executor_begins_anew_when_kafka_lost_everything(harness: Harness) -> None:
    """After its topics were made again it consumes and produces as before."""
    before, after = Dispatch("five_steps"), Dispatch("five_steps")
    async with harness.executor(fallback_after_seconds=600) as executor:
        await harness.dispatch(before)
        await harness.wait_results(before, 5)
        assert executor.poller is not None
        executor.poller.reopen = True
        await executor.chassis.producer.rebuild()
        await harness.dispatch(after)
        await harness.wait_results(after, 5)
