"""Running a service: stand up, wait for what it needs, work, drain, stop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger

from stepwire.chassis import database
from stepwire.chassis.dependencies import Dependencies, Dependency
from stepwire.chassis.errors import PortTaken, SettingsError
from stepwire.chassis.failpoints import Failpoints
from stepwire.chassis.health import Health, health_app
from stepwire.chassis.kafka import Producer
from stepwire.chassis.kafka import ping as ping_kafka
from stepwire.chassis.logging import configure_logging, get_logger
from stepwire.chassis.metrics import Metrics
from stepwire.chassis.settings import Settings, unknown_settings
from stepwire.chassis.tracing import make_tracing
from stepwire.chassis.waiting import done_before
from stepwire.chassis.web import WebServer
from stepwire.flow.errors import DefinitionError, PackageNotFound

if TYPE_CHECKING:
    from stepwire.chassis.spans import Tracing

DRAIN_SECONDS = 30.0
COLLECT_AFTER = 100_000
EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3


@dataclass
class Chassis:
    """What a service is built on; made once per process and handed down."""

    service: database.Service
    settings: Settings
    engine: AsyncEngine
    producer: Producer
    metrics: Metrics
    health: Health
    failpoints: Failpoints
    log: FilteringBoundLogger
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    clock: database.Clock = field(default_factory=database.Clock)
    instance: str = field(default_factory=lambda: str(uuid4()))
    tracing: Tracing | None = None


Main = Callable[[Chassis], Awaitable[int | None]]
MakeApp = Callable[[Chassis], ASGIApp]


def run_service(
    service: database.Service, settings: Settings, main: Main, *, app: MakeApp | None = None, wait: bool = True
) -> int:
    """Run `main` until SIGTERM or SIGINT and return the exit code of the process.

    `main` is called when database and Kafka were reached (`wait`), or at once; it returns when `stopping` is set
    and what was under way is done, within 30 s. `app` is served on the gateway's address in place of the small
    application with health and metrics. A second signal ends the process at once.
    """
    configure_logging(service, level=settings.log_level, log_format=settings.log_format)
    try:
        failpoints = Failpoints.parse(settings.failpoints, testing=settings.testing)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_Run(service, settings, failpoints).run(main, app, wait=wait))
    except (SettingsError, PackageNotFound) as error:
        get_logger().error(str(error), action="start")
        return EXIT_USAGE
    except DefinitionError as error:
        get_logger().error(str(error), action="start")
        return EXIT_FAILED
    except PortTaken as error:
        get_logger().error(str(error), action="listen")
        return EXIT_UNREACHABLE


def _calm_the_collector() -> None:
    """What was imported stays; a batch makes thousands of objects that all die young and need no collector."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


class _Run:
    """The life of one service process, from the loop's start to its end."""

    def __init__(self, service: database.Service, settings: Settings, failpoints: Failpoints) -> None:
        self._chassis = Chassis(
            service=service,
            settings=settings,
            engine=database.make_engine(settings, service=service, planned_once=service != "gateway"),
            producer=Producer(settings),
            metrics=Metrics(),
            health=Health(),
            failpoints=failpoints,
            log=get_logger(),
        )
        self._chassis.tracing = make_tracing(settings, service, self._chassis.instance)
        self._tables_seen = False
        # From the first request on: the server listens before anything else is known.
        self._chassis.health.set("work", "waits for what the service needs")

    async def run(self, main: Main, app: MakeApp | None, *, wait: bool) -> int:
        chassis = self._chassis
        _install_signal_handlers(chassis)
        for sentence in unknown_settings():
            chassis.log.warning(sentence, action="settings")
        async with AsyncExitStack() as stack:
            if chassis.tracing is not None:
                stack.push_async_callback(asyncio.to_thread, chassis.tracing.close)
            stack.push_async_callback(database.dispose, chassis.engine)
            stack.push_async_callback(chassis.producer.stop)
            server = self._server(app)
            url = await server.start()
            stack.push_async_callback(server.stop)
            chassis.log.info(
                "The service listens.", action="listen", url=url, pid=os.getpid(), instance=chassis.instance
            )
            code = await self._work(main, wait=wait)
        chassis.log.info("The service has stopped.", action="stop", code=code)
        return code

    def _server(self, app: MakeApp | None) -> WebServer:
        chassis, settings = self._chassis, self._chassis.settings
        if app is not None:
            return WebServer(
                app(chassis),
                host=settings.gateway_host,
                port=settings.gateway_port,
                service=chassis.service,
                setting="STEPWIRE_GATEWAY_PORT",
            )
        metrics = chassis.metrics if settings.prometheus else None
        return WebServer(
            health_app(chassis.health, metrics),
            host=settings.metrics_host,
            port=settings.metrics_port,
            service=chassis.service,
        )

    async def _work(self, main: Main, *, wait: bool) -> int:
        dependencies = self._dependencies()
        watching = asyncio.create_task(dependencies.watch(), name="dependencies")
        try:
            if wait and not await self._reached(dependencies):
                return EXIT_DONE
            _calm_the_collector()
            # What `main` sets before its first await is seen by nobody too late: health is served on this loop.
            self._chassis.health.set("work", None)
            return await _until_drained(self._chassis, main)
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    def _dependencies(self) -> Dependencies:
        chassis, settings = self._chassis, self._chassis.settings
        return Dependencies(
            chassis.health,
            [
                Dependency(
                    "database",
                    database.address(settings.database_url),
                    self._ask_database,
                ),
                Dependency("kafka", settings.kafka_bootstrap, lambda: ping_kafka(settings.kafka_bootstrap)),
            ],
        )

    async def _ask_database(self) -> None:
        chassis = self._chassis
        await database.ping(chassis.engine, chassis.clock)
        if self._tables_seen:
            return
        self._tables_seen = await database.has_tables(chassis.engine)
        if not self._tables_seen:
            chassis.log.warning("The database has no tables of Stepwire; run `stepwire db upgrade`.", action="tables")

    async def _reached(self, dependencies: Dependencies) -> bool:
        """Wait until all dependencies answered once; False when the service was told to stop before."""
        reached = asyncio.create_task(dependencies.all_reached.wait())
        await done_before(reached, self._chassis.stopping)
        reached.cancel()
        return dependencies.all_reached.is_set() and not self._chassis.stopping.is_set()


async def _until_drained(chassis: Chassis, main: Main) -> int:
    work = asyncio.ensure_future(main(chassis))
    if not await done_before(work, chassis.stopping):
        await asyncio.wait({work}, timeout=DRAIN_SECONDS)
    if not work.done():
        chassis.log.error("The service did not drain in time and is ended.", action="drain", seconds=DRAIN_SECONDS)
        work.cancel()
        await asyncio.wait({work}, timeout=1)
        return EXIT_FAILED
    return _outcome(chassis, work)


def _outcome(chassis: Chassis, work: asyncio.Future[int | None]) -> int:
    try:
        return work.result() or EXIT_DONE
    except (SettingsError, PackageNotFound, DefinitionError):
        # Mistakes of people: their sentence says all, a traceback would hide it.
        raise
    except asyncio.CancelledError:
        # By a library's own task: nobody here cancels the work before it is done.
        chassis.log.exception("The service was cancelled.", action="run")
    except Exception:
        chassis.log.exception("The service failed.", action="run")
    return EXIT_FAILED


def _install_signal_handlers(chassis: Chassis) -> None:
    loop = asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        if chassis.stopping.is_set():
            os._exit(128 + number)
        # First, because the log may be a pipe whose reader is gone: that must not keep the service alive.
        chassis.stopping.set()
        chassis.log.info("The service drains.", action="drain", signal=number.name)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415  # not to be had everywhere

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
