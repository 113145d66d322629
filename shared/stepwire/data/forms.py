"""Free-standing forms as executors offer them: their keys, and whose queue answers."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_OFFER = text("""
INSERT INTO stepwire_engine.forms (key, queue)
SELECT * FROM unnest(CAST(:keys AS text[]), CAST(:queues AS text[])) AS f (key, queue)
ORDER BY key
ON CONFLICT (key) DO UPDATE SET queue = excluded.queue, offered_at = clock_timestamp()
""")
_QUEUE = text("SELECT queue FROM stepwire_engine.forms WHERE key = :key")
_KEYS = text("SELECT key FROM stepwire_engine.forms ORDER BY key")


async def offer_forms(connection: AsyncConnection, queues: Mapping[str, str]) -> None:
    """Write the keys of the forms an executor serves, with their queues; those already there are offered again."""
    if queues:
        await connection.execute(_OFFER, {"keys": list(queues), "queues": list(queues.values())})


async def queue_of_form(connection: AsyncConnection, key: str) -> str | None:
    """Whose executors answer for the form, None for one nobody offered as long as is remembered."""
    queue: str | None = (await connection.execute(_QUEUE, {"key": key})).scalar_one_or_none()
    return queue


async def form_keys(connection: AsyncConnection) -> list[str]:
    """Every key that was offered."""
    return list((await connection.execute(_KEYS)).scalars())
