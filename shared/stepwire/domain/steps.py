"""Steps on subscriptions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import inspect
from sqlalchemy.orm import Session

from stepwire.data import SubscriptionTable, db
from stepwire.flow.arguments import explained
from stepwire.flow.errors import StepwireError
from stepwire.flow.lists import Step
from stepwire.flow.mistakes import wrong
from stepwire.flow.steps import step
from stepwire.flow.types import State

STATUSES = ("initial", "provisioning", "active", "migrating", "disabled", "terminated")
OLD_SUBSCRIPTIONS = "__old_subscriptions__"
"""Where State keeps subscriptions as they were when the lock was taken, by their ids."""


class UnknownSubscription(StepwireError):  # noqa: N818 - named by what it is, as all errors here
    """There is no such subscription."""

    def __init__(self, subscription_id: Any) -> None:
        super().__init__(
            f"there is no subscription {subscription_id}: check State['subscription_id'], "
            "or create the subscription in an earlier step",
        )


@explained('write set_status("active")')
def set_status(status: str) -> Step:
    """Make a step that gives the subscription of State['subscription_id'] this status.

    The first time it becomes active is its start, the time it is terminated its end.

    Raises:
        DefinitionError: no subscription has such a status.
    """
    if status not in STATUSES:
        raise wrong(f"{status!r} is no status of a subscription", f"give one of {', '.join(STATUSES)}")

    @step(f"Set subscription to '{status}'")
    def set_subscription_status(subscription_id: UUID) -> None:
        subscription = read_subscription(db.session, subscription_id)
        subscription.status = status
        if status == "active" and subscription.start_date is None:
            subscription.start_date = datetime.now(UTC)
        if status == "terminated":
            subscription.end_date = datetime.now(UTC)

    return set_subscription_status


def read_subscription(session: Session, subscription_id: UUID) -> SubscriptionTable:
    """Return the row of a subscription.

    Raises:
        UnknownSubscription: there is none.
    """
    found = session.get(SubscriptionTable, subscription_id)
    if found is None:
        raise UnknownSubscription(subscription_id)
    return found


def backup_subscription(session: Session, subscription_id: UUID, state: State) -> State:
    """Return what the step "Lock subscription" adds to State: the subscription as it is, beside older backups.

    Raises:
        UnknownSubscription: there is none.
    """
    row = read_subscription(session, subscription_id)
    columns = {column.key: getattr(row, column.key) for column in inspect(SubscriptionTable).column_attrs}
    older = state.get(OLD_SUBSCRIPTIONS)
    kept = older if isinstance(older, dict) else {}
    return {OLD_SUBSCRIPTIONS: {**kept, str(subscription_id): columns}}
