"""A span per executed node, where spans are asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from stepwire_executor.steps import Done, Execution

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from stepwire.chassis.spans import Tracing


def plain(execution: Execution, tracing: Tracing | None) -> Callable[[], Done]:
    """What a thread has to do."""
    return execution.perform if tracing is None else partial(_plain, execution, tracing)


def awaited(execution: Execution, tracing: Tracing | None) -> Callable[[], Awaitable[Done]]:
    """What the loop for steps has to do."""
    return execution.perform_async if tracing is None else partial(_awaited, execution, tracing)


def _plain(execution: Execution, tracing: Tracing) -> Done:
    with tracing.step(execution.node.step.name, execution.run.traceparent, _attributes(execution)) as span:
        return _told(span, execution.perform())


async def _awaited(execution: Execution, tracing: Tracing) -> Done:
    with tracing.step(execution.node.step.name, execution.run.traceparent, _attributes(execution)) as span:
        return _told(span, await execution.perform_async())


def _attributes(execution: Execution) -> dict[str, str | int]:
    run = execution.run
    return {
        "stepwire.process_id": str(run.process_id),
        "stepwire.workflow": run.claim.workflow,
        "stepwire.node": execution.node.path,
        "stepwire.attempt": run.attempt,
    }


def _told(span: Span, done: Done) -> Done:
    span.set_attribute(
        "stepwire.status", done.outcome.status if done.outcome is not None else done.verdict.name.lower()
    )
    return done
