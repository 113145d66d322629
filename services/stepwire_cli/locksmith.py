"""Locks: read from the database, freed by a command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from aiokafka.errors import KafkaError
from rich.console import Group, RenderableType
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncConnection

from stepwire.chassis.kafka import unreachable
from stepwire.chassis.settings import Settings
from stepwire.client import Client, Unanswered
from stepwire.client import Refused as RefusedByEngine
from stepwire.data import locks
from stepwire.data.locks import Lock
from stepwire_cli.errors import Failed, near
from stepwire_cli.options import confirm, user_or_login
from stepwire_cli.output import duration, facts, moment, show, shown_id, status_text, table, working
from stepwire_cli.places import operator_settings
from stepwire_cli.reading import reading

T = TypeVar("T")

ANSWER_SECONDS = 15.0


@dataclass(frozen=True)
class Release:
    """Which lock shall be freed, why, and for whom."""

    lock: str
    reason: str
    user: str | None
    force: bool


def show_all(*, as_json: bool) -> None:
    """Print the locks that are held or waited for."""
    found = _read(operator_settings(), locks.list_locks)
    show([_document(lock) for lock in found], lambda: _rendered(found), as_json=as_json)


def show_one(text: str, *, as_json: bool) -> None:
    """Print one lock."""
    lock = _one(operator_settings(), text)
    show(_document(lock), lambda: _described(lock), as_json=as_json)


def release(order: Release, *, ask: bool, as_json: bool) -> None:
    """Free one lock."""
    settings = operator_settings()
    lock = _one(settings, order.lock)
    if lock.owner is None:
        show({"key": lock.key, "released": False}, lambda: f"Nobody holds {lock.key}.", as_json=as_json)
        return
    if ask:
        holder = f"{lock.workflow or 'a process'} {lock.owner}, which is {lock.status or 'gone'}"
        confirm(f"Take {lock.key} from {holder}?")
    with working(f"releasing {lock.key}"):
        asyncio.run(_release(settings, lock.key, order))
    document = {"key": lock.key, "released": True, "owner": str(lock.owner)}
    show(document, lambda: f"Released {lock.key}, which process {lock.owner} held.", as_json=as_json)


async def _release(settings: Settings, key: str, order: Release) -> None:
    client = Client(
        settings.kafka_bootstrap, source="cli", topic_prefix=settings.topic_prefix, answer_seconds=ANSWER_SECONDS
    )
    user = user_or_login(order.user)
    try:
        async with client:
            await client.release_lock(key, user=user, reason=order.reason, force=order.force)
    except RefusedByEngine as error:
        raise Failed(str(error).replace("send force: true", "say --force")) from error
    except Unanswered as error:
        raise Failed(
            f"no coordinator has answered within {ANSWER_SECONDS:.0f} s; `stepwire lock show` tells what became of it."
        ) from error
    except (KafkaError, OSError) as error:
        raise unreachable(settings.kafka_bootstrap, error) from error


def _read(settings: Settings, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    return asyncio.run(reading(settings, work))


def _one(settings: Settings, text: str) -> Lock:
    key = _key(text)
    lock = _read(settings, lambda connection: locks.lock_of(connection, key))
    if lock is None:
        known = [each.key for each in _read(settings, locks.list_locks)]
        hint = near(key, known) if known else "; none is held."
        raise Failed(f"there is no lock {key!r}{hint}")
    return lock


def _key(text: str) -> str:
    """The whole key: ids are those of subscriptions, other words are names."""
    if text.startswith(("subscription:", "resource:")):
        return text
    try:
        return f"subscription:{UUID(text)}"
    except ValueError:
        return f"resource:{text}"


def _document(lock: Lock) -> dict[str, Any]:
    waiters = [waiter._asdict() for waiter in lock.waiters]
    return {**asdict(lock), "waiters": waiters}


def _rendered(found: Sequence[Lock]) -> RenderableType:
    if not found:
        return "No lock is held, and none is waited for."
    rows = [
        (lock.key, _holder(lock), status_text(lock.status or "-"), _held(lock), str(len(lock.waiters) or ""))
        for lock in found
    ]
    return table(("Lock", "Holder", "Status", "Held for", "Waiting"), rows, wrap=["Lock", "Holder"])


def _holder(lock: Lock) -> str:
    return "nobody" if lock.owner is None else f"{lock.workflow or '-'} {shown_id(lock.owner)}"


def _held(lock: Lock) -> str:
    return duration(lock.since, datetime.now(UTC)) if lock.owner is not None else ""


def _described(lock: Lock) -> RenderableType:
    head = facts(
        [
            ("Lock", Text(lock.key)),
            ("Holder", Text("nobody" if lock.owner is None else f"{lock.workflow or '-'} {lock.owner}")),
            ("Status", status_text(lock.status) if lock.status else None),
            ("Since", Text(f"{moment(lock.since)}, for {_held(lock)}") if lock.owner is not None else None),
            ("Reason", Text(lock.reason) if lock.reason else None),
        ]
    )
    if not lock.waiters:
        return Group(head, Text(), Text("Nobody waits for it."))
    rows = [
        (str(each.place), each.workflow or "-", shown_id(each.process_id), str(each.priority), moment(each.since))
        for each in lock.waiters
    ]
    return Group(head, Text(), table(("Place", "Workflow", "Process", "Priority", "Waits since"), rows))
