"""Spans of batches."""

from __future__ import annotations

from stepwire import StepList, begin, step, workflow
from stepwire.chassis.settings import Settings
from stepwire.contracts.tracing import derived_traceparent
from tests.coordinator.stage import Stage
from tests.support.spans import Recording


@step("Only")
def only() -> None:
    """Do nothing."""


@workflow("One step")
def one_step() -> StepList:
    """A plain step."""
    return begin >> only


async def test_a_batch_is_a_span_linked_with_its_processes(topics: Settings) -> None:
    """A trace that begins here is sampled, and kept with the process for everybody who takes part."""
    recording = Recording()
    stage = Stage(topics.model_copy(update={"tracing": True}))
    stage.tracing = recording.tracing
    async with stage:
        await stage.offer(one_step.manifest)
        process_id = await stage.start("one_step")
        run = await stage.run_of(process_id)
        await stage.report(run, run["node"])
        row = await stage.status(process_id, "completed")
    assert row.traceparent == derived_traceparent(process_id, sampled=True)
    links = [f"{link.context.trace_id:032x}" for span in recording.spans for link in span.links]
    assert set(links) == {process_id.hex}
    assert {span.name for span in recording.spans} == {"batch"}
    assert any((span.attributes or {}).get("stepwire.processes") == 1 for span in recording.spans)
