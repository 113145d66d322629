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
from stepwire.flow.registry import Registry
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
    tell_unreachable(plans.registry, log)
    workflows = sorted(manifest.workflow for manifest in manifests)
    log.info("Workflows are offered.", action="offer", workflows=workflows, forms=sorted(forms))


def tell_unreachable(registry: Registry, log: FilteringBoundLogger) -> None:
    """Warn of steps behind the end of a workflow: lists that are put together may have some, but few are meant."""
    for name, workflow in registry.workflows.items():
        if names := [step.name for step in workflow.unreachable]:
            sentence = "Steps behind the end of a workflow are never executed; put them before it."
            log.warning(sentence, action="offer", workflow=name, steps=names, where=str(workflow.location))


def host_name() -> str:
    """What people call this executor."""
    return f"{socket.gethostname()}:{os.getpid()}"
