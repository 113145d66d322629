"""Why the database did not take a batch, and what that says about the batch."""

from __future__ import annotations

from enum import StrEnum

import asyncpg
from sqlalchemy.exc import DBAPIError, StatementError

from stepwire.chassis.direct import DATABASE_ERRORS

# What the data itself can be refused for: its form, a constraint, a limit of the database. Everything else is the
# database's own trouble. A missing table or a standby that takes no writes must not cost a single record.
PERMANENT_CLASSES = ("22", "54")
CONSTRAINT_CLASS = "23"
STATEMENT_TIMEOUT = "57014"
LOCK_NOT_AVAILABLE = "55P03"


class Fault(StrEnum):
    """What to do with a piece of work that failed.

    passing: try again for as long as it takes, after a while in smaller pieces; slow: in smaller pieces,
    if it has any; met: somebody wrote the same at the same time, so try again a few times; held: a lock
    was not had in time; permanent: a part of it can never be applied.
    """

    PASSING = "passing"
    SLOW = "slow"
    MET = "met"
    HELD = "held"
    PERMANENT = "permanent"


def fault_of(error: Exception) -> Fault:
    """Tell what failed: the database, or the work."""
    if isinstance(error, DBAPIError):
        return Fault.PASSING if error.connection_invalidated else _by_state(_sqlstate(error))
    if isinstance(error, StatementError) or _unsendable(error):
        return Fault.PERMANENT
    if isinstance(error, asyncpg.PostgresError):
        return _by_state(error.sqlstate or "")
    return Fault.PASSING if isinstance(error, DATABASE_ERRORS) else Fault.PERMANENT


def _unsendable(error: Exception) -> bool:
    """Whether its parameters could not even be sent."""
    return isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)


def _sqlstate(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None) or ""


def _by_state(state: str) -> Fault:
    exact = {STATEMENT_TIMEOUT: Fault.SLOW, LOCK_NOT_AVAILABLE: Fault.HELD}
    if state in exact:
        return exact[state]
    if state.startswith(CONSTRAINT_CLASS):
        return Fault.MET
    return Fault.PERMANENT if state.startswith(PERMANENT_CLASSES) else Fault.PASSING
