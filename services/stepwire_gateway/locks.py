"""Locks and subscriptions over HTTP: who holds which, and what is asked of them."""

from __future__ import annotations

from uuid import UUID, uuid4

from starlette.requests import Request
from starlette.responses import Response

from stepwire.contracts.commands import SetInSync
from stepwire.data import locks, process_reads
from stepwire.data.locks import Lock, Waiter
from stepwire_gateway import shapes, views
from stepwire_gateway.database import Database
from stepwire_gateway.orders import User
from stepwire_gateway.problems import Problem
from stepwire_gateway.responses import json_response
from stepwire_gateway.sending import Sender, build_command
from stepwire_gateway.shapes import Subscription
from stepwire_gateway.starts import IdempotencyKey


class Locks:
    """Shows locks, and what they guard."""

    def __init__(self, database: Database, sender: Sender) -> None:
        self._database = database
        self._sender = sender

    async def show(self, _: Request) -> Response:
        """Every lock that is held or waited for, the one held longest first, with those who wait in their order."""
        held = await self._database.read(locks.list_locks)
        return json_response([_shown(lock) for lock in held])

    async def subscription(self, subscription_id: str) -> Response:
        """One subscription as it is stored."""
        return json_response(await self._subscription(subscription_id))

    async def set_in_sync(
        self, subscription_id: str, user: User = None, reason: str | None = None, idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Bring a subscription back in sync that no unfinished process works on."""
        # The driver's own kind of UUID does not travel.
        found = UUID(str((await self._subscription(subscription_id))["subscription_id"]))
        command_id = idempotency_key or str(uuid4())
        command = build_command(SetInSync, command_id=command_id, subscription_id=found, user=user, reason=reason)
        sent = await self._sender.send(command)
        if sent.answer is None:
            return json_response({"id": found}, 202, {"Location": f"/api/subscriptions/{found}"})
        return json_response(await self._subscription(subscription_id))

    async def _subscription(self, text: str) -> Subscription:
        try:
            wanted = UUID(text)
        except ValueError as error:
            raise _unknown() from error
        found = await self._database.run(lambda connection: process_reads.subscription(connection, wanted))
        if found is None:
            raise _unknown()
        return views.subscription(found)


def _unknown() -> Problem:
    return Problem(404, "unknown_subscription", "there is no such subscription; check the id")


def _shown(lock: Lock) -> shapes.Lock:
    return {
        "key": lock.key,
        "kind": lock.kind,
        "name": lock.name,
        "owner": lock.owner,
        "workflow": lock.workflow,
        "status": lock.status,
        "since": lock.since,
        "reason": lock.reason,
        "waiters": [_waiting(waiter) for waiter in lock.waiters],
    }


def _waiting(waiter: Waiter) -> shapes.LockWaiter:
    return {
        "process_id": waiter.process_id,
        "workflow": waiter.workflow,
        "status": waiter.status,
        "priority": waiter.priority,
        "since": waiter.since,
        "place": waiter.place,
    }
