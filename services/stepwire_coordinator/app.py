"""Composition root of the coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from stepwire.chassis.database import Cut, dispose
from stepwire.chassis.service import Chassis, run_service
from stepwire.chassis.settings import Settings
from stepwire.data.command_log import COMMANDS_CHANNEL
from stepwire.data.inbox import CALLBACKS_CHANNEL
from stepwire_coordinator.alarm import Alarm
from stepwire_coordinator.applying import Applier
from stepwire_coordinator.arrivals import Arrivals
from stepwire_coordinator.beating import Beat
from stepwire_coordinator.consuming import Consumption
from stepwire_coordinator.gauges import Gauges
from stepwire_coordinator.listening import listen
from stepwire_coordinator.manifests import Manifests
from stepwire_coordinator.outbox import Relay
from stepwire_coordinator.publishing import Publisher
from stepwire_coordinator.recovery import Recovery
from stepwire_coordinator.retention import keep_tidy
from stepwire_coordinator.stranding import Stranding
from stepwire_coordinator.sweeping import Sweeper
from stepwire_coordinator.timeline import watch_timeline
from stepwire_coordinator.transaction import Surroundings
from stepwire_coordinator.watching import Watch

LATE_SECONDS = 10.0


def main(settings: Settings) -> int:
    """Run a coordinator until it is told to stop; returns the exit code."""
    settings.required_callback_secrets()
    return run_service("coordinator", settings, run)


async def run(chassis: Chassis) -> int:
    """Everything a coordinator does, each part as a task of its own."""
    chassis.health.set("partitions", "not assigned yet")
    watch_timeline(chassis.engine)
    cut = Cut(chassis.engine)
    # Connections made before are not known by their timeline: each would look like a failover.
    await dispose(chassis.engine)
    surroundings = Surroundings(chassis.settings, Manifests(), chassis.settings.required_callback_secrets())
    alarm = Alarm()
    applier = Applier(chassis, surroundings, alarm)
    publisher = Publisher(chassis)
    relay = Relay(chassis, publisher)
    beat = Beat(chassis)
    consumption = Consumption(chassis, applier, publisher)
    arrivals = Arrivals(chassis, applier, publisher, consumption.owns)
    sweeper = Sweeper(chassis, applier, publisher, relay, alarm)
    watch = Watch(chassis, consumption)
    background: list[Coroutine[object, object, object]] = [
        beat.run(),
        sweeper.run(),
        arrivals.run(),
        listen(chassis, {COMMANDS_CHANNEL: lambda _: sweeper.wake(), CALLBACKS_CHANNEL: arrivals.announce}),
        relay.run(),
        publisher.tidy(),
        Recovery(chassis, applier, publisher, consumption, beat).run(),
        Stranding(chassis, applier, publisher, beat).run(),
        Gauges(chassis, consumption).run(),
        keep_tidy(chassis),
        watch.run(),
        _cut_when_late(chassis, cut),
    ]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part) for part in background]
        await watch.consume()
        await arrivals.drain()
        for task in tasks:
            task.cancel()
    await publisher.close()
    await beat.leave()
    return watch.exit_code


async def _cut_when_late(chassis: Chassis, cut: Cut) -> None:
    """A batch that waits for a frozen database would outlast the time there is to stop; it is read again."""
    await chassis.stopping.wait()
    await asyncio.sleep(LATE_SECONDS)
    chassis.log.warning("Stopping takes long; the database is not waited for any more.", action="stop")
    cut.now()
