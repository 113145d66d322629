"""Commands about the engine or a subscription instead of one process."""

from __future__ import annotations

from sqlalchemy import text

from stepwire.contracts.commands import PauseEngine, ResumeAll, SetInSync, UnpauseEngine
from stepwire.contracts.reasons import Reason
from stepwire.process.decision import Answer
from stepwire_coordinator.store import locks
from stepwire_coordinator.transaction import Transaction

SET_PAUSED = text("""
UPDATE stepwire_engine.engine_settings
SET paused = :paused, changed_at = clock_timestamp(), changed_by = :by
""")
NOTIFY_ENGINE = text("SELECT pg_notify('stepwire_engine', :word)")
LOCK_SUBSCRIPTION = text("""
SELECT (SELECT owner FROM stepwire_engine.locks WHERE key = 'subscription:' || :id)
FROM public.subscriptions WHERE subscription_id = CAST(:id AS uuid) FOR NO KEY UPDATE
""")
# One command per task: each is answered by itself, and one bad process stops no other.
RESUME_TASKS = text("""
INSERT INTO stepwire_engine.commands (command_id, type, process_id, content_hash, body, received_at)
SELECT :prefix || process_id, 'ResumeProcess', process_id, sha256(b), b,
    clock_timestamp() - interval '1 minute'
FROM (
    SELECT process_id, convert_to(json_build_object('type', 'ResumeProcess', 'command_id',
        :prefix || process_id, 'process_id', process_id, 'source', CAST(:by AS text))::text, 'UTF8') AS b
    FROM stepwire_engine.processes
    WHERE is_task AND status IN ('failed', 'waiting', 'api_unavailable', 'inconsistent_data')
) AS tasks
ON CONFLICT DO NOTHING
""")


async def pause_engine(tx: Transaction, command: PauseEngine) -> None:
    """Start nothing new."""
    await _set_paused(tx, command, paused=True)


async def unpause_engine(tx: Transaction, command: UnpauseEngine) -> None:
    """Go on; what was dispatched meanwhile is found by the executors' fallback queue."""
    await _set_paused(tx, command, paused=False)


async def resume_all(tx: Transaction, command: ResumeAll) -> None:
    """Retry every failed or waiting task."""
    prefix = f"{command.command_id[:150]}:"
    await tx.connection.execute(RESUME_TASKS, {"prefix": prefix, "by": command.source})
    tx.ledger.answer(Answer(command.command_id, accepted=True), None)


async def set_in_sync(tx: Transaction, command: SetInSync) -> None:
    """Bring a subscription back in sync if nothing unfinished works on it."""
    subscription_id = command.subscription_id
    found = (await tx.connection.execute(LOCK_SUBSCRIPTION, {"id": str(subscription_id)})).first()
    at_work = await tx.connection.execute(locks.UNFINISHED_ON, {"id": subscription_id})
    holder = (found[0] if found else None) or at_work.scalar()
    if found is None:
        detail = f"there is no subscription {subscription_id}; name an existing one"
        answer = Answer(command.command_id, False, Reason.INVALID_INPUT, detail)  # noqa: FBT003
    elif holder is not None:
        detail = f"process {holder} works on subscription {subscription_id}; end it first"
        answer = Answer(
            command.command_id,
            accepted=False,
            reason=Reason.SUBSCRIPTION_LOCKED,
            detail=detail,
            holder=holder,
        )
    else:
        await tx.connection.execute(locks.SET_INSYNC, {"ids": [subscription_id], "insync": True})
        answer = Answer(command.command_id, accepted=True)
    tx.ledger.answer(answer, None)


async def _set_paused(
    tx: Transaction,
    command: PauseEngine | UnpauseEngine,
    *,
    paused: bool,
) -> None:
    await tx.connection.execute(SET_PAUSED, {"paused": paused, "by": command.source})
    word = "paused" if paused else "running"
    await tx.connection.execute(NOTIFY_ENGINE, {"word": word})
    tx.ledger.answer(Answer(command.command_id, accepted=True), None)
