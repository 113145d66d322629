"""Outcomes: what a step wrote and the record that it is done commit together."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Session

from stepwire.contracts.base import encode
from stepwire.contracts.commands import StartProcess, content_hash, process_id_of
from stepwire.data.session import ENGINE

FENCE_SECONDS = 5.0


class Place(NamedTuple):
    """One attempt at one node, in one run of one executor."""

    process_id: UUID
    node: str
    attempt: int
    executor: UUID
    epoch: int


# The time limits cover what follows only: until here a step may keep its transaction open while it calls outside.
_SEAL = text("""
SELECT pg_current_xact_id_if_assigned() IS NOT NULL,
    current_setting('stepwire.process_id', true) = :process_id,
    set_config('statement_timeout', :limit, true),
    set_config('idle_in_transaction_session_timeout', :limit, true)
""").execution_options(**ENGINE)

_INSERT = """
    INSERT INTO stepwire_engine.step_outcomes (process_id, node, attempt, status, result, executor, epoch)
    VALUES (CAST(:process_id AS uuid), :node, CAST(:attempt AS int), :status, CAST(:result AS bytea),
            CAST(:executor AS uuid), CAST(:epoch AS int))
    ON CONFLICT (process_id, node, attempt) DO NOTHING
"""
# The fence reads the claim and never the process row, on which batches of the coordinator would make it wait.
# It depends on the inserted row, so that the claim is locked last.
_FENCED_INSERT = text(f"""
WITH outcome AS ({_INSERT} RETURNING process_id)
SELECT true FROM outcome JOIN stepwire_engine.run_claims AS c ON c.process_id = outcome.process_id
WHERE c.epoch = :epoch AND c.executor = :executor AND NOT c.revoked
FOR SHARE OF c
""").execution_options(**ENGINE)  # noqa: S608 - put together from constants
_OURS = """
    SELECT c.process_id FROM stepwire_engine.run_claims AS c
    WHERE c.process_id = CAST(:process_id AS uuid) AND c.epoch = CAST(:epoch AS int)
        AND c.executor = CAST(:executor AS uuid) AND NOT c.revoked
    FOR SHARE OF c
"""
_FENCE = text(_OURS).execution_options(**ENGINE)
_BARE_INSERT = text(f"{_INSERT} RETURNING true").execution_options(**ENGINE)
# An executor that was frozen meanwhile may find the time limit passed of a run that is somebody else's now.
_FAILED = text(f"""
WITH ours AS ({_OURS})
INSERT INTO stepwire_engine.step_outcomes (process_id, node, attempt, status, result, executor, epoch)
SELECT process_id, :node, CAST(:attempt AS int), 'failed', CAST(:result AS bytea),
    CAST(:executor AS uuid), CAST(:epoch AS int) FROM ours
ON CONFLICT (process_id, node, attempt) DO NOTHING RETURNING true
""")  # noqa: S608 - put together from constants
_READ = text("""
SELECT status, result FROM stepwire_engine.step_outcomes
WHERE process_id = :process_id AND node = :node AND attempt = :attempt
""")
_START = text("""
INSERT INTO stepwire_engine.commands (command_id, type, process_id, content_hash, body)
VALUES (:command_id, :type, CAST(:process_id AS uuid), CAST(:content_hash AS bytea), CAST(:body AS bytea))
ON CONFLICT (command_id) DO NOTHING
""").execution_options(**ENGINE)
_NUDGE = text("SELECT pg_notify('stepwire_commands', '')").execution_options(**ENGINE)


class Seal(NamedTuple):
    """What the transaction of a step is: has it written, and is it still the one the step began with?"""

    wrote: bool
    whole: bool


def seal(session: Session, process_id: UUID) -> Seal:
    """Look at the transaction a step leaves, and put limits on all that follows in it."""
    values = {"process_id": str(process_id), "limit": str(int(FENCE_SECONDS * 1000))}
    wrote, whole, *_ = session.execute(_SEAL, values).one()
    return Seal(bool(wrote), bool(whole))


def record(session: Session, place: Place, result: bytes, *, fence: bool = True, outcome: bool = True) -> bool:
    """Write the outcome and look at the claim; False: it is not ours any more, or the attempt has an outcome."""
    values: dict[str, Any] = {**place._asdict(), "status": "success", "result": result}
    if not outcome:
        values = {key: values[key] for key in ("process_id", "epoch", "executor")}
        return not fence or session.execute(_FENCE, values).first() is not None
    return session.execute(_FENCED_INSERT if fence else _BARE_INSERT, values).first() is not None


async def record_failed(connection: AsyncConnection, place: Place, result: bytes) -> bool:
    """Write that an attempt failed; False: the claim is not ours any more, or the attempt has an outcome."""
    return (await connection.execute(_FAILED, {**place._asdict(), "result": result})).first() is not None


class Outcome(NamedTuple):
    """A recorded outcome."""

    status: str
    result: bytes


async def read(connection: AsyncConnection, place: Place) -> Outcome | None:
    """The outcome of this attempt, None if it has none."""
    where = {"process_id": place.process_id, "node": place.node, "attempt": place.attempt}
    row = (await connection.execute(_READ, where)).first()
    return None if row is None else Outcome(row[0], bytes(row[1]))


def write_starts(session: Session, starts: list[StartProcess]) -> None:
    """Write the starts a step has asked for; they are seen when its transaction commits."""
    for command in starts:
        session.execute(
            _START,
            {
                "command_id": command.command_id,
                "type": "StartProcess",
                "process_id": command.process_id or process_id_of(command.command_id),
                "content_hash": content_hash(command),
                "body": encode(command),
            },
        )
    if starts:
        session.execute(_NUDGE)
