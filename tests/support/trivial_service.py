"""A service that does nothing, on the real chassis: `python -m tests.support.trivial_service KIND`."""

from __future__ import annotations

import asyncio
import os
import sys

from stepwire.chassis.service import Chassis, run_service
from stepwire.chassis.settings import load_settings


async def _work(chassis: Chassis) -> int | None:
    chassis.log.info("working", greeting=os.environ.get("GREETING", "none"))
    await chassis.failpoints.hit_async("executor.claimed")
    await chassis.stopping.wait()
    if "HANG" in os.environ:
        await asyncio.get_running_loop().create_future()
    chassis.log.info("drained")
    return int(os.environ.get("EXIT_CODE", "0"))


def main(kind: str) -> int:
    """Run as `kind` until told to stop."""
    if kind == "gateway":
        # Its port comes by another setting; all else is the same here.
        os.environ["STEPWIRE_METRICS_PORT"] = os.environ["STEPWIRE_GATEWAY_PORT"]
    return run_service("coordinator", load_settings(), _work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
