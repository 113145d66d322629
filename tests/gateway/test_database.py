"""The database as requests see it."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.testing import capture_logs

from stepwire.chassis.database import make_engine
from stepwire.chassis.settings import Settings
from stepwire_gateway import database
from stepwire_gateway.database import Database, DatabaseAway

NOBODY = "postgresql://stepwire@127.0.0.1:1/stepwire"
REQUESTS = 5


async def _nothing(_: AsyncConnection) -> None:
    """Never done: there is no server."""


async def test_an_outage_does_not_fill_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request is told that the database is away; the log now and then, with how many statements that were."""
    monkeypatch.setattr(database, "TELL_EVERY_SECONDS", 3600.0)
    engine = make_engine(Settings(database_url=NOBODY), service="gateway")
    with capture_logs() as told:
        away = Database(engine)
        for _ in range(REQUESTS):
            with pytest.raises(DatabaseAway):
                await away.run(_nothing)
        monkeypatch.setattr(away, "_tell_again_at", 0.0)
        with pytest.raises(DatabaseAway):
            await away.run(_nothing)
    await engine.dispose()
    assert [line["statements"] for line in told if line.get("action") == "database"] == [1, REQUESTS]
