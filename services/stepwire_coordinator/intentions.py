"""Commands within a transaction: registered, told apart from repeats, decided, answered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson

from stepwire.contracts.commands import (
    AbortProcess,
    AnyCommand,
    PauseEngine,
    RefusedCommand,
    ReleaseLock,
    ResumeAll,
    SetInSync,
    StartProcess,
    UnpauseEngine,
    content_hash,
    process_id_of,
)
from stepwire.contracts.reasons import Reason
from stepwire.contracts.tokens import derive_key
from stepwire.contracts.tracing import derived_traceparent
from stepwire.process.decision import Answer
from stepwire.process.starting import Birth, accept_start, conceive
from stepwire_coordinator.engine_orders import pause_engine, release_lock, resume_all, set_in_sync, unpause_engine
from stepwire_coordinator.ledger import FinalAnswer
from stepwire_coordinator.predicates import read_uncompleted, why_not
from stepwire_coordinator.store.commands import Registration, Standing, forget_refused, standings_of
from stepwire_coordinator.store.processes import Birthmarks, Loaded
from stepwire_coordinator.transaction import Transaction
from stepwire_coordinator.work import CommandItem, ProcessOrder, RefusedItem

UNKNOWN_KEPT = timedelta(seconds=10)
RANKS: dict[type, int] = {AbortProcess: 0, StartProcess: 1}
LATEST_RANK = 2
MOST_LABEL_BYTES = 16_384
# It is in an index of lists twice, whose rows have 2,704 bytes: a process with more could never come to rest.
MOST_REPORTER_BYTES = 500


async def register_commands(tx: Transaction) -> None:
    """Find out which commands were seen before."""
    if not tx.work.commands and not tx.work.refused:
        return
    registrations = [_registration(item.command) for item in tx.work.commands]
    registrations += [_refused_registration(item.refused) for item in tx.work.refused]
    tx.registrations = {r.command_id: r for r in reversed(registrations)}
    tx.standings = await standings_of(tx.connection, tx.registrations)
    tx.now = next(iter(tx.standings.values())).now
    await tx.surroundings.manifests.refresh(tx.connection, {s.workflow for s in tx.work.starts()})
    await read_uncompleted(tx)


async def settle_commands(tx: Transaction) -> None:
    """Apply every command of the work; aborts first, then starts, then the rest."""
    for refusal in tx.work.refused:
        _settle_refused(tx, refusal, tx.standings[refusal.refused.command_id])
    seen: set[str] = set()
    for item in sorted(tx.work.commands, key=_rank):
        standing = tx.standings[item.command.command_id]
        if item.command.command_id in seen:
            _settle_double(tx, item.command)
        elif _is_new(tx, item, standing):
            await _settle(tx, item.command, standing)
        seen.add(item.command.command_id)


def refuse(tx: Transaction, command_id: str, reason: Reason, detail: str, **more: Any) -> None:
    """Refuse a command that never reached a process."""
    answer = Answer(command_id, accepted=False, reason=reason, detail=detail, **more)
    tx.ledger.answer(answer, None)


def process_of(command: AnyCommand) -> UUID | None:
    """The process a command is about."""
    if isinstance(command, StartProcess):
        return command.process_id or process_id_of(command.command_id)
    return command.process_id if isinstance(command, ProcessOrder) else None


def _rank(item: CommandItem) -> int:
    return RANKS.get(type(item.command), LATEST_RANK)


def _registration(command: AnyCommand) -> Registration:
    return Registration(
        command.command_id,
        command.type,
        process_of(command),
        content_hash(command),
        orjson.dumps(command.model_dump()),
        command.reply_to,
    )


def _refused_registration(refused: RefusedCommand) -> Registration:
    digest = hashlib.sha256(refused.detail.encode()).digest()
    body = orjson.dumps({"command_id": refused.command_id, "detail": refused.detail})
    return Registration(refused.command_id, "malformed", None, digest, body, refused.reply_to)


def _settle_refused(tx: Transaction, item: RefusedItem, standing: Standing) -> None:
    refused = item.refused
    same = item.condemned or (standing.same and tx.registrations[refused.command_id] == _refused_registration(refused))
    if not standing.fresh and same:
        _repeat(tx, refused.command_id, standing)
        return
    answer = Answer(refused.command_id, False, refused.reason, refused.detail, refused.errors)  # noqa: FBT003
    tx.ledger.answers.append(FinalAnswer(answer, None, refused.reply_to, remembered=same))


def _settle_double(tx: Transaction, command: AnyCommand) -> None:
    """The same id twice in one batch: the first one's answer answers both."""
    if tx.registrations[command.command_id].content_hash == content_hash(command):
        tx.ledger.drop("repeated_command")
    else:
        _reused(tx, command.command_id, command.reply_to)


def _is_new(tx: Transaction, item: CommandItem, standing: Standing) -> bool:
    command = item.command
    if item.received_at is not None:
        # Found in the table by more than one coordinator: nobody has sent it again.
        return standing.fresh
    if not standing.same:
        _reused(tx, command.command_id, command.reply_to)
        return False
    if not standing.fresh:
        _repeat(tx, command.command_id, standing)
        return False
    return True


def _reused(tx: Transaction, command_id: str, reply_to: str | None) -> None:
    detail = f"command_id {command_id} was used for another command; take a new one"
    answer = Answer(command_id, accepted=False, reason=Reason.COMMAND_ID_REUSED, detail=detail)
    tx.ledger.answers.append(FinalAnswer(answer, None, reply_to, remembered=False))


def _repeat(tx: Transaction, command_id: str, standing: Standing) -> None:
    """Give the first answer again, as the same event; a pending one will come by itself."""
    tx.ledger.drop("repeated_command")
    if standing.answer is None:
        return
    told = standing.answer
    process_id = UUID(told["process_id"]) if told.get("process_id") else None
    answer = Answer(
        command_id,
        standing.status == "accepted",
        told.get("reason"),
        told.get("detail"),
        tuple(told.get("errors", ())),
        UUID(told["holder"]) if told.get("holder") else None,
        told.get("count"),
    )
    given = FinalAnswer(answer, process_id, standing.reply_to, False, standing.answer_id)  # noqa: FBT003
    tx.ledger.answers.append(given)


async def _settle(tx: Transaction, command: AnyCommand, standing: Standing) -> None:
    if command.reply_to:
        tx.ledger.replies[command.command_id] = command.reply_to
    if isinstance(command, StartProcess):
        await _start(tx, command, standing)
    elif isinstance(command, ProcessOrder):
        _order(tx, command, standing)
    else:
        await ENGINE_ORDERS[type(command)](tx, command)


async def _start(tx: Transaction, command: StartProcess, standing: Standing) -> None:
    manifest = tx.surroundings.manifests.newest(command.workflow)
    if manifest is None:
        detail = f"no executor serves a workflow {command.workflow!r}; check its name"
        refuse(tx, command.command_id, Reason.UNKNOWN_WORKFLOW, detail)
    elif (flaw := _too_large(command)) is not None:
        refuse(tx, command.command_id, Reason.TOO_LARGE, flaw)
    elif standing.paused and command.hold:
        tx.ledger.held.append(command.command_id)
    elif standing.paused:
        detail = "the engine is paused; send it again later, or with hold: true"
        refuse(tx, command.command_id, Reason.ENGINE_PAUSED, detail)
    elif standing.taken or process_of(command) in tx.ledger.rows:
        detail = f"process {process_of(command)} exists already; leave process_id out"
        refuse(tx, command.command_id, Reason.PROCESS_EXISTS, detail)
    elif (problem := why_not(tx, manifest)) is not None:
        refuse(tx, command.command_id, Reason.PREDICATE_FAILED, problem)
    else:
        birth, events = conceive(command, manifest), 0
        if standing.rejected:
            epoch, events = await forget_refused(tx.connection, birth.process.id)
            birth = replace(birth, process=replace(birth.process, epoch=epoch))
        _give_birth(tx, command, birth, events)


def _too_large(command: StartProcess) -> str | None:
    if (size := len(orjson.dumps(command.labels))) > MOST_LABEL_BYTES:
        return f"the labels take {size} bytes, but every event repeats them; keep them under {MOST_LABEL_BYTES}"
    if (size := len((command.reporter or command.source).encode())) > MOST_REPORTER_BYTES:
        return f"the reporter's name takes {size} bytes; keep it under {MOST_REPORTER_BYTES}"
    return None


def _give_birth(tx: Transaction, command: StartProcess, birth: Birth, event_seq: int) -> None:
    secret = tx.surroundings.secrets[0]
    key = derive_key(secret.value, birth.process.id)
    marks = Birthmarks(secret.id, key, command.hold)
    row = Loaded(birth.process, event_seq, callback_key=key, secret_id=secret.id, born=marks)
    row.traceparent = _trace_of(tx, command.traceparent, birth.process.id)
    row.changed = True
    tx.ledger.rows[birth.process.id] = row
    tx.ledger.take(row, accept_start(birth, command, tx.now))
    if birth.process.pending_command is not None:
        tx.ledger.pending.append(command.command_id)


def _trace_of(tx: Transaction, given: str | None, process_id: UUID) -> str | None:
    """The trace to be kept; None for one that anybody can derive.

    Whether a trace that begins here is sampled is decided now, for everybody who takes part.
    """
    if given not in {None, derived_traceparent(process_id)}:
        return given
    return derived_traceparent(process_id, sampled=True) if tx.surroundings.settings.tracing else None


def _order(tx: Transaction, command: ProcessOrder, standing: Standing) -> None:
    if tx.advance_if_here(command.process_id, command):
        tx.ledger.pending.append(command.command_id)
    elif _is_nobody(tx, command.process_id) and tx.now - standing.received_at > UNKNOWN_KEPT:
        detail = f"there is no process {command.process_id}; check the id"
        refuse(tx, command.command_id, Reason.UNKNOWN_PROCESS, detail)
    elif tx.is_held(command.process_id):
        tx.ledger.hold(command.command_id)
    else:
        tx.ledger.held.append(command.command_id)


def _is_nobody(tx: Transaction, process_id: UUID) -> bool:
    # What is asked of a start that is held was accepted like the start itself: it waits for as long.
    return tx.is_unknown(process_id) and not tx.is_coming(process_id)


ENGINE_ORDERS: dict[type, Callable[..., Any]] = {
    PauseEngine: pause_engine,
    UnpauseEngine: unpause_engine,
    ResumeAll: resume_all,
    SetInSync: set_in_sync,
    ReleaseLock: release_lock,
}
