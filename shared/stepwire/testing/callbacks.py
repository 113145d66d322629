"""Callbacks as outside systems send them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from stepwire.contracts.callbacks import body_hash, without_route
from stepwire.contracts.reasons import DeadLetter, Reason
from stepwire.contracts.tokens import (
    Token,
    WrongTokenError,
    callback_route,
    derive_key,
    make_token,
    read_token,
    verify_token,
)
from stepwire.process import Process
from stepwire.process.happenings import CallbackProgressed
from stepwire.process.model import Status, order_of, parent_of, top_of
from stepwire.testing.core import SECRET, SECRET_ID, Core
from stepwire.testing.errors import Refused
from stepwire.testing.records import Early, Record


def post(core: Core, process_id: UUID, payload: dict[str, Any], route: str | None) -> None:
    """Accept an answer, early or awaited; a repeat changes nothing.

    Raises:
        Refused: the route is wrong, its await is over, or another answer was accepted for it.
    """
    digest = body_hash(payload)
    with core.changed:
        record = core.record(process_id)
        text, token = _token(record, route)
        place = (token.node, token.attempt)
        if (known := record.accepted.get(place)) is not None:
            if known != digest and not _tried_again(record, token):
                raise Refused(DeadLetter.DIFFERENT_BODY, "another answer was accepted for this callback before")
            if known == digest:
                return
        if _is_over(record.process, token):
            raise Refused(DeadLetter.AWAIT_OVER, "nobody waits for this callback any more")
        record.accepted[place] = digest
        record.early[place] = Early(without_route(payload, process_id, text), digest)
        core.take_early(record)
    core.settle()


def post_progress(core: Core, process_id: UUID, progress: Any, route: str | None) -> None:
    """Show news of an awaited callback.

    Raises:
        Refused: nobody waits for it.
    """
    record = core.record(process_id)
    text, token = _token(record, route)
    news = without_route(progress, process_id, text)
    if core.apply(record, CallbackProgressed(token.node, token.attempt, news)).dropped:
        raise Refused(Reason.WRONG_STATUS, "the process does not wait for this callback")


def route_of(process_id: UUID, node: str, attempt: int) -> str:
    """The route that the action at `node` hands out in this attempt."""
    return callback_route(process_id, make_token(derive_key(SECRET, process_id), SECRET_ID, node, attempt))


def _token(record: Record, route: str | None) -> tuple[str, Token]:
    process = record.process
    whose, _, text = (_awaited(process) if route is None else route).rpartition("/callback/")
    if whose and not whose.endswith(f"/{process.id}"):
        raise Refused(DeadLetter.WRONG_TOKEN, "the route is one of another process")
    try:
        token = read_token(text)
    except WrongTokenError as error:
        raise Refused(DeadLetter.WRONG_TOKEN, str(error)) from error
    if not verify_token(derive_key(SECRET, process.id), token):
        raise Refused(DeadLetter.WRONG_TOKEN, "the token is not one of this process")
    return text, token


def _awaited(process: Process) -> str:
    if process.status is not Status.AWAITING_CALLBACK:
        detail = (
            f"process {process.id} is {process.status.value} and awaits no callback; give the route of an early one"
        )
        raise Refused(Reason.WRONG_STATUS, detail)
    return route_of(process.id, parent_of(process.node), process.attempt)


def _tried_again(record: Record, token: Token) -> bool:
    """Whether the step has a later attempt, with another route."""
    process = record.process
    at_it = top_of(process.node) == top_of(token.node) and process.attempt > token.attempt
    return at_it or any(node == token.node and attempt > token.attempt for node, attempt in record.accepted)


def _is_over(process: Process, token: Token) -> bool:
    awaited, position = order_of(f"{token.node}.2", token.attempt), order_of(process.node, process.attempt)
    return (
        process.finished
        or awaited < position
        or (awaited == position and process.status is not Status.AWAITING_CALLBACK)
    )
