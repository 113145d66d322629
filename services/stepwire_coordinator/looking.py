"""What is looked at again and again, whatever became of the last look."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from stepwire.chassis.direct import DATABASE_ERRORS
from stepwire.chassis.service import Chassis


async def keep_looking(chassis: Chassis, look: Callable[[], Awaitable[None]], *, action: str, seconds: float) -> None:
    """Look every so many seconds, until the service stops; `action` names it in the log."""
    while not chassis.stopping.is_set():
        await asyncio.sleep(seconds)
        try:
            await look()
        except DATABASE_ERRORS as error:
            chassis.log.info("The database did not answer a look.", action=action, error=str(error))
        except Exception:
            # A defect in one look must not end the coordinator, nor the looks that follow.
            chassis.log.exception("A look broke.", action=action)
