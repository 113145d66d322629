"""Telling the engine which workflows and forms are served here."""

from __future__ import annotations

import asyncio
import os
import socket

from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.typing import FilteringBoundLogger

from stepwire.chassis.direct import DATABASE_ERRORS
from stepwire.data.executors import offer_manifests
from stepwire.data.forms import offer_forms
from stepwire_executor.plans import Plans

RETRY_SECONDS = 1.0


async def offer(engine: AsyncEngine, plans: Plans, log: FilteringBoundLogger) -> None:
    """Write the manifests of all our workflows, and the keys of our forms, before anything is claimed."""
    manifests, forms = plans.manifests, plans.registry.forms
    while manifests or forms:
        try:
            async with engine.begin() as connection:
                await offer_manifests(connection, manifests)
                await offer_forms(connection, {key: form.queue for key, form in forms.items()})
        except DATABASE_ERRORS as error:
            log.warning("The workflows could not be offered yet.", action="offer", reason=str(error))
            await asyncio.sleep(RETRY_SECONDS)
        else:
            break
    workflows = sorted(manifest.workflow for manifest in manifests)
    log.info("Workflows are offered.", action="offer", workflows=workflows, forms=sorted(forms))


def host_name() -> str:
    """What people call this executor."""
    return f"{socket.gethostname()}:{os.getpid()}"
