"""Telling the engine which workflows are served here."""

from __future__ import annotations

import asyncio
import os
import socket

from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.typing import FilteringBoundLogger

from stepwire.chassis.direct import DATABASE_ERRORS
from stepwire.data.executors import offer_manifests
from stepwire_executor.plans import Plans

RETRY_SECONDS = 1.0


async def offer(engine: AsyncEngine, plans: Plans, log: FilteringBoundLogger) -> None:
    """Write the manifests of all our workflows, before anything is claimed."""
    manifests = plans.manifests
    while manifests:
        try:
            async with engine.begin() as connection:
                await offer_manifests(connection, manifests)
        except DATABASE_ERRORS as error:
            log.warning("The workflows could not be offered yet.", action="offer", reason=str(error))
            await asyncio.sleep(RETRY_SECONDS)
        else:
            break
    log.info("Workflows are offered.", action="offer", workflows=sorted(m.workflow for m in manifests))


def host_name() -> str:
    """What people call this executor."""
    return f"{socket.gethostname()}:{os.getpid()}"
