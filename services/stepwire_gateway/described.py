"""The OpenAPI document of a gateway that is built and never run."""

from __future__ import annotations

import asyncio
from typing import Any

from stepwire.chassis import database
from stepwire.chassis.failpoints import Failpoints
from stepwire.chassis.health import Health
from stepwire.chassis.kafka import Producer
from stepwire.chassis.logging import get_logger
from stepwire.chassis.metrics import Metrics
from stepwire.chassis.service import Chassis
from stepwire.chassis.settings import Settings
from stepwire_gateway.app import Gateway


def openapi(settings: Settings) -> dict[str, Any]:
    """What `/openapi.json` of a gateway with these settings says; nothing is connected for it."""
    return asyncio.run(_openapi(settings))


async def _openapi(settings: Settings) -> dict[str, Any]:
    engine = database.make_engine(settings, service="gateway")
    chassis = Chassis(
        service="gateway",
        settings=settings,
        engine=engine,
        producer=Producer(settings),
        metrics=Metrics(),
        health=Health(),
        failpoints=Failpoints.parse("", testing=False),
        log=get_logger(),
    )
    described = Gateway(chassis).app().openapi()
    await engine.dispose()
    return described
