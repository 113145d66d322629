"""The end of a transaction: everything decided is written, in as few statements as possible."""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text

from stepwire.flow.serialization import Delta
from stepwire.process.decision import LogEntry
from stepwire.process.history import History
from stepwire.process.model import Status
from stepwire_coordinator.ledger import FinalAnswer, Ledger
from stepwire_coordinator.publication import Publication, answer_data, publish_all
from stepwire_coordinator.store import commands, inbox, journal, locks, process_rows, processes
from stepwire_coordinator.store.commands import AnswerRow
from stepwire_coordinator.store.parts import Parts
from stepwire_coordinator.store.processes import Loaded
from stepwire_coordinator.transaction import Transaction

# How many entries of the log are added up at most where an outside system has answered.
LONG_LOG = 32
BODIES = text("""
SELECT command_id, body FROM stepwire_engine.commands
WHERE command_id = ANY(CAST(:command_ids AS text[]))
""")


async def write(tx: Transaction) -> Publication:
    """Write the ledger of this transaction; returns what is to be published after the commit."""
    await _photograph_states(tx)
    publication = publish_all(tx, await _given_pages(tx))
    parts = Parts()
    _add_rows(parts, tx.ledger)
    _add_answers(parts, tx, publication)
    _add_journal(parts, tx)
    if publication.outbox_id is not None:
        journal.add_outbox(parts, publication.outbox_id, publication.outbox_records)
    await parts.execute(tx.connection)
    await _write_rest(tx)
    return publication


def _add_rows(parts: Parts, ledger: Ledger) -> None:
    changed = [row for row in ledger.rows.values() if row.changed]
    born = [row for row in changed if row.born is not None]
    old = [row for row in changed if row.born is None]
    if born:
        parts.add("born", process_rows.INSERT_PART, process_rows.insert_values(born))
    if old:
        parts.add("old", process_rows.UPDATE_PART, process_rows.update_values(old))


def _add_journal(parts: Parts, tx: Transaction) -> None:
    ledger = tx.ledger
    journal.add_steps(parts, ledger.entries)
    journal.add_repeats(parts, ledger.repeats)
    journal.add_notes(parts, ledger.notes)
    journal.add_inputs(parts, ledger.inputs)
    journal.add_relations(parts, ledger.relations)
    journal.add_timers(parts, ledger.timers)
    journal.add_asides(parts, ledger.asides)
    journal.remove_asides(parts, ledger.taken)
    journal.add_positions(parts, tx.work.positions)
    if ledger.applied:
        values = {
            "x_process": [a.process_id for a in ledger.applied],
            "x_node": [a.node for a in ledger.applied],
            "x_attempt": [a.attempt for a in ledger.applied],
        }
        parts.add("applied", inbox.APPLIED_PART, values)
    if ledger.left:
        values = {"left_keys": [key for key, _ in ledger.left], "left_processes": [owner for _, owner in ledger.left]}
        parts.add("left_line", locks.LEFT_PART, values)
    if ledger.releases:
        values = {
            "released_keys": [key for key, _ in ledger.releases],
            "released_owners": [owner for _, owner in ledger.releases],
        }
        parts.add("released", locks.RELEASE_PART, values)


def _add_answers(parts: Parts, tx: Transaction, publication: Publication) -> None:
    ledger = tx.ledger
    rows = dict.fromkeys(ledger.held, AnswerRow("held"))
    rows |= dict.fromkeys(ledger.pending, AnswerRow("pending"))
    for given in ledger.answers:
        if given.remembered:
            rows[given.answer.command_id] = _answer_row(given, publication)
    here = {i for i in rows if i in tx.standings and not tx.standings[i].known}
    if here:
        inserted = [(tx.registrations[i], rows[i]) for i in sorted(here)]
        parts.add("inserted", commands.INSERTED_PART, commands.insert_values(inserted))
    if updated := [(i, row) for i, row in rows.items() if i not in here]:
        parts.add("answered", commands.ANSWERED_PART, commands.update_values(updated))


def _answer_row(given: FinalAnswer, publication: Publication) -> AnswerRow:
    status = "accepted" if given.answer.accepted else "rejected"
    reason = str(given.answer.reason) if given.answer.reason else None
    body = orjson.dumps(answer_data(given)).decode()
    return AnswerRow(status, reason, body, publication.answer_ids[given.answer.command_id])


async def _write_rest(tx: Transaction) -> None:
    """What is rare, or must see what the one statement wrote."""
    ledger = tx.ledger
    if notes := journal.operator_notes(ledger.notes):
        await tx.connection.execute(journal.NOTE_COLUMN, notes)
    # A timer that fired may have been set again in the same epoch: that one must stay.
    renewed = {(process_id, timer.kind, epoch) for process_id, epoch, timer in ledger.timers}
    if fired := [timer for timer in ledger.fired if timer not in renewed]:
        values = {
            "processes": [row[0] for row in fired],
            "kinds": [row[1] for row in fired],
            "epochs": [row[2] for row in fired],
        }
        await tx.connection.execute(journal.TIMERS_FIRED, values)
    if ledger.revoked:
        await _revoke(tx)
    if freed := sorted(ledger.freed | {key for key, _ in ledger.releases}):
        # Asked only now, with the locks in our hands: whoever came to wait before is seen.
        ledger.handover = bool((await tx.connection.execute(locks.ANY_WAITING, {"keys": freed})).scalar())


async def _revoke(tx: Transaction) -> None:
    """Take older claims away; waits for a fence under way, which is why this is no batch."""
    revoked = sorted(tx.ledger.revoked)
    values = {"processes": [r[0] for r in revoked], "epochs": [r[1] for r in revoked]}
    await tx.connection.execute(journal.REVOKE, values)
    # Executors are told the epoch they may still be running, not the new one, which may be theirs in a moment.
    payloads = [f"{process_id}:{epoch - 1}" for process_id, epoch in revoked]
    await tx.connection.execute(journal.NOTIFY_REVOKED, {"payloads": payloads})


async def _photograph_states(tx: Transaction) -> None:
    """State as each dispatched run begins with it, where something was undone, and before a wait behind a long log."""
    rows = [row for row in tx.ledger.rows.values() if row.dispatched or row.undone or _awaits_behind_a_long_log(row)]
    if not rows:
        return
    fresh: dict[UUID, list[LogEntry]] = defaultdict(list)
    for process_id, _, entry in tx.ledger.entries:
        fresh[process_id].append(entry)
    known = {row.process.id: row.state_parts for row in rows if row.state_parts is not None}
    old = [row.process.id for row in rows if row.born is None and not row.undone and row.state_parts is None]
    if old:
        known |= await processes.states(tx.connection, old)
    for row in rows:
        if row.undone:
            row.snapshot = await _told_anew(tx, row, row.undone, fresh[row.process.id])
            continue
        snapshot, deltas = known.get(row.process.id, (None, []))
        row.snapshot = _folded(snapshot, deltas, fresh[row.process.id])


def _awaits_behind_a_long_log(row: Loaded) -> bool:
    process = row.process
    awaits = row.changed and process.status is Status.AWAITING_CALLBACK
    return awaits and process.log_seq - row.snapshot_seq >= LONG_LOG


async def _told_anew(tx: Transaction, row: Loaded, undone: str, entries: list[LogEntry]) -> bytes:
    """State without what `undone` has put there in earlier attempts: no snapshot can be trusted to be older."""
    history = History(row.process.manifest)
    for node, attempt, delta in await processes.log_before(tx.connection, row.process.id, undone):
        history.add(node, attempt, delta)
    for entry in entries:
        history.add(entry.node, entry.attempt, Delta(entry.set, list(entry.removed)))
    history.stand_at(row.process.node, row.process.attempt)
    return orjson.dumps(history.state)


def _folded(snapshot: bytes | None, deltas: list[Any], entries: list[LogEntry]) -> bytes:
    if snapshot is not None and not deltas and not any(e.set or e.removed for e in entries):
        return snapshot
    state: dict[str, Any] = orjson.loads(snapshot) if snapshot else {}
    changes = [(d["set"], d["removed"]) for d in map(_as_dict, deltas)]
    for changed, removed in changes + [(e.set, e.removed) for e in entries]:
        state.update(changed)
        for key in removed:
            state.pop(key, None)
    return orjson.dumps(state)


def _as_dict(delta: Any) -> dict[str, Any]:
    # jsonb[] reaches us as text, jsonb as a dict.
    decoded: dict[str, Any] = orjson.loads(delta) if isinstance(delta, str | bytes) else delta
    return decoded


async def _given_pages(tx: Transaction) -> dict[str, dict[str, Any]]:
    """The commands whose pages a dispatched run has to check."""
    wanted = {
        command_id
        for row in tx.ledger.rows.values()
        if row.dispatched and (command_id := row.process.command_to_check) is not None
    }
    here = {
        item.command.command_id: item.command.model_dump()
        for item in tx.work.commands
        if item.command.command_id in wanted
    }
    missing = sorted(wanted - here.keys())
    if missing:
        rows = await tx.connection.execute(BODIES, {"command_ids": missing})
        here |= {row[0]: orjson.loads(row[1]) for row in rows}
    return here
