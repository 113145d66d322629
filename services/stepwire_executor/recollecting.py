"""What a run that begins in the middle of a node has to know of the runs before it."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from stepwire.data import states
from stepwire_executor.plans import NodePlan
from stepwire_executor.runs import Run


def must_recall(run: Run, node: NodePlan) -> bool:
    """Whether the log has to be asked, which is so for the first node of few runs."""
    return node.recalls and not (run.steps_done or run.recalled)


async def recall(connection: AsyncConnection, run: Run, node: NodePlan) -> None:
    """Let `run` know the payload that a lens has to place, and how long the groups around its first node have taken."""
    if node.awaited is not None and node.callback is not None:
        run.payload = await states.payload_of(connection, run.process_id, node.callback.path, run.attempt)
    for limit in node.limits:
        run.spent[limit.path] = await states.seconds_spent(connection, run.process_id, limit.path, run.attempt)
    run.recalled = True
