"""Spans of steps."""

from __future__ import annotations

from stepwire.contracts.tracing import derived_traceparent
from tests.executor.harness import Dispatch, Harness
from tests.support.spans import Recording, ids_of


async def test_every_step_is_a_span_in_the_trace_of_its_process(harness: Harness) -> None:
    """Sync or async, with what it was and how it ended."""
    recording, run = Recording(), Dispatch("mixed")
    harness.tracing = recording.tracing
    given = derived_traceparent(run.process_id, sampled=True)
    await harness.insert(run)
    sql = "UPDATE stepwire_engine.processes SET traceparent = :given WHERE process_id = :id"
    await harness.sql(sql, given=given, id=run.process_id)
    async with harness.executor():
        await harness.producer.send(harness.record(run))
        await harness.wait_results(run, 3)
    assert {ids_of(span) for span in recording.spans} == {tuple(given.split("-")[1:3])}
    assert [span.name for span in recording.spans] == ["Add one", "Add one, async", "Add one"]
    common = {"stepwire.process_id": str(run.process_id), "stepwire.workflow": "mixed", "stepwire.attempt": 1}
    expected = [{**common, "stepwire.node": node, "stepwire.status": "success"} for node in ("2", "3", "4")]
    assert [dict(span.attributes or {}) for span in recording.spans] == expected


async def test_a_trace_that_is_not_sampled_costs_no_spans(harness: Harness) -> None:
    """Who began the trace has decided it."""
    recording, run = Recording(), Dispatch("mixed")
    harness.tracing = recording.tracing
    async with harness.executor():
        await harness.dispatch(run)
        await harness.wait_results(run, 3)
    assert recording.spans == []
