"""Which PostgreSQL answers: after a failover it may have forgotten what its predecessor had acknowledged."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from stepwire.chassis.direct import Direct

# Raises on a standby, which takes no writes anyway.
TIMELINE = "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)"
KEY = "stepwire_timeline"


class TimelineChangedError(Exception):
    """The database is another one than the one whose positions are known: they must be read again."""


def watch_timeline(engine: AsyncEngine) -> None:
    """Ask each new connection for its timeline: a failover ends every connection."""
    event.listen(engine.sync_engine, "connect", _ask)


def timeline_of(connection: Direct) -> str:
    """The timeline of the server at the other end; empty where nobody watches."""
    return str(connection.info.get(KEY, ""))


def _ask(connection: Any, record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(TIMELINE)
    record.info[KEY] = cursor.fetchone()[0]
    cursor.close()
    connection.rollback()
