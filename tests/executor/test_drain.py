"""Stopping."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from stepwire_executor import attempts, living
from stepwire_executor.steps import Verdict
from stepwire_executor.threads import Job
from tests.executor import flows
from tests.executor.harness import Dispatch, Harness


async def test_a_running_step_may_end_and_the_rest_is_given_back(harness: Harness) -> None:
    """The run says before which node it stopped; the exit code is 0."""
    run = Dispatch("gated", state={"gate": "drain"})
    async with harness.executor() as executor:
        await harness.dispatch(run)
        await harness.until(lambda: bool(flows.effects["drain"]))
        executor.chassis.stopping.set()
        await harness.until(lambda: executor.runs.signals.draining)
        flows.gates["drain"].set()
    results = await harness.wait_results(run, 2)
    assert (results[0].status, results[1].reason, results[1].node) == ("success", "drain", "3")
    assert harness.exit_code == 0


async def test_a_step_that_does_not_end_in_time_is_given_up(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its session is ended on the server, its attempt stays, and its run is given back before that very step."""
    monkeypatch.setattr(living, "DRAIN_SECONDS", 0.5)
    run = Dispatch("gated", state={"gate": "given up"})
    async with harness.executor():
        await harness.dispatch(run)
        await harness.until(lambda: bool(flows.effects["given up"]))
    (result,) = await harness.wait_results(run, 1)
    assert (result.type, result.reason, result.node, result.attempt) == ("RunEnded", "drain", "2", 1)
    flows.gates["given up"].set()
    assert await harness.sql("SELECT count(*) FROM effects WHERE label = 'given up'") == [(0,)]
    ((ended,),) = await harness.sql("SELECT ended_at IS NOT NULL FROM stepwire_engine.run_claims")
    assert ended is True


async def test_an_executor_that_never_reached_its_database_stops_at_once(harness: Harness) -> None:
    """There is nothing to drain."""
    harness.settings = harness.settings.model_copy(
        update={"database_url": "postgresql://stepwire@127.0.0.1:1/stepwire"}
    )
    async with harness.executor() as executor:
        assert not executor.leases.fresh
    assert harness.exit_code == 0


class _Silent:
    """A database that takes everything and answers nothing."""

    def execution_options(self, **_: object) -> _Silent:
        """Be asked."""
        return self

    def connect(self) -> _Silent:
        """Be connected to."""
        return self

    async def __aenter__(self) -> None:
        await asyncio.Event().wait()

    async def __aexit__(self, *_: object) -> None:
        """Not be left either."""


async def test_steps_are_given_up_though_the_database_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their sessions cannot be ended; the executor ends in time all the same, and says where the rest stands."""
    monkeypatch.setattr(attempts, "GIVE_UP_SECONDS", 0.1)
    nothing: Any = None
    silent: Any = _Silent()
    threads: Any = SimpleNamespace(abandon=lambda _: None)
    made = attempts.Attempts(nothing, threads, nothing, silent, nothing)
    told = [asyncio.get_running_loop().create_future() for _ in range(2)]
    for number, future in enumerate(told):
        step: Any = SimpleNamespace(is_async=False, abandoned=False, transaction=SimpleNamespace(abandon=lambda: 4711))
        made._underway[number] = attempts._Underway(step, Job(lambda: None, future))  # noqa: SLF001  # as `execute` does
    async with asyncio.timeout(60):
        assert await made.give_up() == len(told)
    assert [future.result().verdict for future in told] == [Verdict.ABANDONED] * len(told)
