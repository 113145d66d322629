"""Commands about the engine or a subscription instead of one process."""

from __future__ import annotations

import hashlib
from uuid import UUID

from sqlalchemy import text

from stepwire.contracts.commands import PauseEngine, ReleaseLock, ResumeAll, SetInSync, UnpauseEngine
from stepwire.contracts.reasons import Reason
from stepwire.process.decision import Answer
from stepwire.process.happenings import LockReleased
from stepwire.process.holding import has_not_begun
from stepwire.process.model import FINISHED, RETRYABLE, Status, subscription_lock
from stepwire_coordinator.store import locks
from stepwire_coordinator.transaction import Transaction

SET_PAUSED = text("""
UPDATE stepwire_engine.engine_settings
SET paused = :paused, changed_at = clock_timestamp(), changed_by = :by
""")
NOTIFY_ENGINE = text("SELECT pg_notify('stepwire_engine', :word)")
# One command per task: each is answered by itself, and one bad process stops no other.
RESUME_TASKS = text("""
WITH told AS (
    INSERT INTO stepwire_engine.commands (command_id, type, process_id, content_hash, body)
    SELECT :prefix || process_id, 'ResumeProcess', process_id, sha256(b), b
    FROM (
        SELECT process_id, convert_to(json_build_object('type', 'ResumeProcess', 'command_id',
            :prefix || process_id, 'process_id', process_id, 'source', CAST(:by AS text))::text, 'UTF8') AS b
        FROM stepwire_engine.processes
        WHERE is_task AND status IN ('failed', 'waiting', 'api_unavailable', 'inconsistent_data')
    ) AS tasks
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT count(*) FROM told
""")
RESUMING = text("""
SELECT EXISTS (SELECT 1 FROM stepwire_engine.commands
    WHERE status IN ('received', 'held') AND starts_with(command_id, :mark))
""")
# Two of them at once in two coordinators would each see no command of the other.
ALONE = text("SELECT pg_try_advisory_xact_lock(hashtextextended('stepwire resume-all', 0))")
NOTIFY_COMMANDS = text("SELECT pg_notify('stepwire_commands', '')")
RESUME_MARK = "resume-all:"
_ON_ITS_WAY = frozenset(Status) - FINISHED - RETRYABLE | {Status.WAITING}


async def pause_engine(tx: Transaction, command: PauseEngine) -> None:
    """Start nothing new."""
    await _set_paused(tx, command, paused=True)


async def unpause_engine(tx: Transaction, command: UnpauseEngine) -> None:
    """Go on; what was dispatched meanwhile is found by the executors' fallback queue."""
    await _set_paused(tx, command, paused=False)


async def resume_all(tx: Transaction, command: ResumeAll) -> None:
    """Retry every failed or waiting task; the sweeper applies them, some at a time."""
    alone = (await tx.connection.execute(ALONE)).scalar_one()
    if not alone or (await tx.connection.execute(RESUMING, {"mark": RESUME_MARK})).scalar_one():
        detail = "tasks are being resumed already; wait for it"
        tx.ledger.answer(Answer(command.command_id, False, Reason.WRONG_STATUS, detail), None)  # noqa: FBT003
        return
    digest = hashlib.sha256(command.command_id.encode()).hexdigest()[:32]
    values = {"prefix": f"{RESUME_MARK}{digest}:", "by": command.source}
    resumed = (await tx.connection.execute(RESUME_TASKS, values)).scalar_one()
    await tx.connection.execute(NOTIFY_COMMANDS)
    tx.ledger.answer(Answer(command.command_id, accepted=True, count=resumed), None)


async def set_in_sync(tx: Transaction, command: SetInSync) -> None:
    """Bring a subscription back in sync if nothing unfinished works on it."""
    subscription_id = command.subscription_id
    row = await locks.hold(tx.connection, subscription_id)
    holder = row.owner or await _works_on(tx, subscription_id)
    if row.busy:
        tx.ledger.hold(command.command_id)
    elif row.insync is None:
        detail = f"there is no subscription {subscription_id}; name an existing one"
        tx.ledger.answer(Answer(command.command_id, False, Reason.INVALID_INPUT, detail), None)  # noqa: FBT003
    elif holder is not None:
        detail = f"process {holder} works on subscription {subscription_id}; end it first"
        answer = Answer(command.command_id, False, Reason.SUBSCRIPTION_LOCKED, detail, holder=holder)  # noqa: FBT003
        tx.ledger.answer(answer, None)
    else:
        await tx.connection.execute(locks.SET_INSYNC, {"ids": [subscription_id], "insync": True})
        tx.ledger.freed.add(subscription_lock(subscription_id))
        if not row.insync:
            tx.ledger.unlocked.append(subscription_id)
        tx.ledger.answer(Answer(command.command_id, accepted=True), None)


async def _works_on(tx: Transaction, subscription_id: UUID) -> UUID | None:
    """A process that would be surprised if its subscription were in sync."""
    values = {"id": subscription_id, "key": subscription_lock(subscription_id)}
    rows = await tx.connection.execute(locks.UNFINISHED_ON, values)
    manifests = tx.surroundings.manifests
    await manifests.need(tx.connection, {row["manifest"] for row in rows})
    working = (
        process_id
        for process_id, status, held, manifest, node in rows
        if not has_not_begun(status, held, manifests[manifest], node)
    )
    return next(working, None)


async def release_lock(tx: Transaction, command: ReleaseLock) -> None:
    """Take a lock from the process that holds it; that process is told."""
    found = (await tx.connection.execute(locks.OWNER, {"key": command.key})).first()
    owner, status = found if found is not None else (None, None)
    if found is None:
        _refuse(tx, command, Reason.INVALID_INPUT, f"there is no lock {command.key!r}; take its key from the list")
    elif owner is None:
        tx.ledger.answer(Answer(command.command_id, accepted=True), None)
    elif status in _ON_ITS_WAY and not command.force:
        detail = f"process {owner} holds it and is {status}; abort that one, or send force: true"
        _refuse(tx, command, Reason.WRONG_STATUS, detail, owner)
    elif await _take_from(tx, owner, command):
        tx.ledger.answer(Answer(command.command_id, accepted=True), owner)
    else:
        tx.ledger.hold(command.command_id)


async def _take_from(tx: Transaction, owner: UUID, command: ReleaseLock) -> bool:
    """Whether the lock is free now; False: somebody else has the process under lock, try again."""
    await tx.load_more(owner)
    if tx.is_unknown(owner):
        tx.ledger.releases.append((command.key, owner))
        return True
    event = LockReleased(command.key, command.user or command.source, command.reason)
    return tx.advance_if_here(owner, event)


def _refuse(tx: Transaction, command: ReleaseLock, reason: Reason, detail: str, holder: UUID | None = None) -> None:
    tx.ledger.answer(Answer(command.command_id, False, reason, detail, holder=holder), None)  # noqa: FBT003


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
