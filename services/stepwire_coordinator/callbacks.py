"""Records of `callbacks` within a transaction: into the inbox, then to the process that waits."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from stepwire.contracts.callbacks import BY_HTTP, CallbackProgress, CallbackReceived, body_hash, without_route
from stepwire.contracts.reasons import DeadLetter
from stepwire.contracts.tokens import Token, WrongTokenError, derive_key, read_token, verify_token
from stepwire.process.happenings import CallbackProgressed
from stepwire.process.model import Process, order_of, top_of
from stepwire_coordinator.store import inbox
from stepwire_coordinator.store.inbox import Answered, Await, Received
from stepwire_coordinator.store.processes import Loaded
from stepwire_coordinator.transaction import Transaction
from stepwire_coordinator.work import CallbackItem


async def drop_echoes(tx: Transaction) -> None:
    """A gateway's own records follow what the database has announced: what is applied needs no process to be read."""
    echoes = [_echo(tx, item) for item in tx.callbacks]
    asked = [echo for echo in echoes if echo is not None]
    if asked:
        applied = await inbox.applied(tx.connection, asked)
        tx.callbacks = [item for item, echo in zip(tx.callbacks, echoes, strict=True) if echo not in applied]


def _echo(tx: Transaction, item: CallbackItem) -> Answered | None:
    callback = item.callback
    if isinstance(callback, CallbackProgress) or callback.source != BY_HTTP:
        return None
    token = _verified(tx, item)
    if token is None:
        return None
    return Answered(Await(callback.process_id, token.node, token.attempt), body_hash(callback.payload))


async def settle_callbacks(tx: Transaction) -> None:
    """Apply every callback of the work, or say in a dead letter why not."""
    accepted: list[tuple[CallbackItem, Await]] = []
    over: list[tuple[CallbackItem, Await]] = []
    for item in tx.callbacks:
        row = tx.ledger.rows.get(item.callback.process_id)
        if row is None:
            _not_here(tx, item)
            continue
        if item.kept:
            tx.ledger.taken.append(item.origin)
        token = _verified(tx, item, row)
        if token is None:
            _bury(tx, item, DeadLetter.WRONG_TOKEN)
        else:
            awaited = Await(row.process.id, token.node, token.attempt)
            (over if _is_over(tx, row, token) else accepted).append((item, awaited))
    await _settle_over(tx, over)
    await _settle_accepted(tx, accepted)


def _not_here(tx: Transaction, item: CallbackItem) -> None:
    process_id = item.callback.process_id
    if tx.is_unknown(process_id):
        _bury(tx, item, DeadLetter.UNKNOWN_PROCESS)
    elif not item.kept:
        tx.set_aside(item.origin, process_id, "callback")


def _verified(tx: Transaction, item: CallbackItem, row: Loaded | None = None) -> Token | None:
    """The token of a callback, if it was made with the secret of its process; with any of ours where none is read."""
    try:
        token = read_token(item.callback.token)
    except WrongTokenError:
        return None
    if row is not None and token.secret_id != row.secret_id:
        return None
    key = (row.callback_key if row is not None else None) or _derived(tx, token.secret_id, item.callback.process_id)
    return token if key is not None and verify_token(key, token) else None


def _derived(tx: Transaction, secret_id: str, process_id: UUID) -> bytes | None:
    """The key of an ended process is cleared; its secret may still be configured."""
    secrets = (s for s in tx.surroundings.secrets if s.id == secret_id)
    return next((derive_key(s.value, process_id) for s in secrets), None)


def _is_over(tx: Transaction, row: Loaded, token: Token) -> bool:
    process = row.process
    if process.finished:
        return True
    position = order_of(process.node, process.attempt)
    awaited = order_of(f"{token.node}.2", token.attempt)
    if awaited != position:
        return awaited < position
    waits = process.status == "awaiting_callback"
    return not waits or (process.deadline is not None and process.deadline < tx.now)


async def _settle_over(tx: Transaction, items: list[tuple[CallbackItem, Await]]) -> None:
    if not items:
        return
    known = await inbox.body_hashes(tx.connection, sorted({a.process_id for _, a in items}))
    for item, awaited in items:
        callback = item.callback
        if isinstance(callback, CallbackProgress):
            tx.ledger.drop("late_progress")
        elif awaited not in known:
            _bury(tx, item, DeadLetter.AWAIT_OVER)
        elif known[awaited] == body_hash(callback.payload):
            tx.ledger.count_callback("repeated")
        elif _tried_again(tx.ledger.rows[awaited.process_id].process, awaited, known):
            _bury(tx, item, DeadLetter.AWAIT_OVER)
        else:
            _bury(tx, item, DeadLetter.DIFFERENT_BODY)


def _tried_again(process: Process, awaited: Await, known: Mapping[Await, bytes]) -> bool:
    """Whether the step has a later attempt, with another route."""
    at_it = top_of(process.node) == top_of(awaited.node) and process.attempt > awaited.attempt
    return at_it or any(
        (later.process_id, later.node) == awaited[:2] and later.attempt > awaited.attempt for later in known
    )


async def _settle_accepted(tx: Transaction, items: list[tuple[CallbackItem, Await]]) -> None:
    first: dict[Await, tuple[Await, dict[str, object], bytes, str]] = {}
    for item, awaited in items:
        callback = item.callback
        if isinstance(callback, CallbackProgress):
            news = without_route(callback.progress, awaited.process_id, callback.token)
            tx.advance_if_here(awaited.process_id, CallbackProgressed(awaited.node, awaited.attempt, news))
        else:
            payload = without_route(callback.payload, awaited.process_id, callback.token)
            entry = (awaited, payload, body_hash(callback.payload), callback.source)
            first.setdefault(awaited, entry)
    if not first:
        return
    found = await inbox.enter(tx.connection, [first[a] for a in sorted(first)])
    for received in found.values():
        _take(tx, received)
    for item, awaited in items:
        if isinstance(item.callback, CallbackReceived):
            _compare(tx, item, item.callback, found[awaited])


def _take(tx: Transaction, received: Received) -> None:
    row = tx.ledger.rows[received.process_id]
    position = order_of(row.process.node, row.process.attempt)
    here = order_of(f"{received.node}.2", received.attempt) == position
    if here and received.applied_at is None:
        tx.apply_callback(received)


def _compare(tx: Transaction, item: CallbackItem, callback: CallbackReceived, received: Received) -> None:
    if body_hash(callback.payload) != received.body_hash:
        _bury(tx, item, DeadLetter.DIFFERENT_BODY)


def _bury(tx: Transaction, item: CallbackItem, error: DeadLetter) -> None:
    tx.ledger.count_callback(error.value)
    tx.ledger.bury(item.origin, item.callback.process_id, error, kept=item.kept)
