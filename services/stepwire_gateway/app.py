"""The composition root of the gateway: everything is built here and handed down."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from starlette.routing import Route

from stepwire.chassis.health import health_routes
from stepwire.chassis.service import Chassis, run_service
from stepwire.chassis.settings import Settings
from stepwire_gateway import docs, problems
from stepwire_gateway.announcing import Announcer
from stepwire_gateway.answers import Answers
from stepwire_gateway.callbacks import Callbacks
from stepwire_gateway.crowd import Crowd
from stepwire_gateway.database import Database
from stepwire_gateway.engine import Engine
from stepwire_gateway.events import Events
from stepwire_gateway.feed import Feed
from stepwire_gateway.free_forms import FreeForms
from stepwire_gateway.locks import Locks
from stepwire_gateway.orders import Orders
from stepwire_gateway.reads import Reads
from stepwire_gateway.refusals import Refusals
from stepwire_gateway.replies import Forms
from stepwire_gateway.sending import Sender
from stepwire_gateway.starts import Starts
from stepwire_gateway.tail import Tail
from stepwire_gateway.tracing import Traced
from stepwire_gateway.workflows import Workflows

CALLBACK = "/processes/{process_id}/callback/{token}"
DRAIN_SECONDS = 5.0


class Gateway:
    """The parts of one gateway, and the application that offers them."""

    def __init__(self, chassis: Chassis) -> None:
        settings, failpoints = chassis.settings, chassis.failpoints
        self._chassis = chassis
        self.tail = Tail(settings, chassis.instance, chassis.health)
        database = Database(chassis.engine)
        forms = Forms(settings, chassis.producer, self.tail, chassis.clock, chassis.instance)
        self._sender = Sender(settings, database, chassis.producer, Answers(self.tail, database), failpoints)
        self._workflows = Workflows(database)
        self._starts = Starts(settings, self._workflows, forms, self._sender)
        self._free_forms = FreeForms(settings, database, forms)
        self._orders = Orders(settings, database, forms, self._sender)
        self._reads = Reads(database)
        self._engine = Engine(settings, database, self._sender)
        self._events = Events(Feed(settings, self.tail), chassis.stopping)
        self._locks = Locks(database, self._sender)
        announcer = Announcer(database, chassis.producer, self._sender.background, chassis.stopping)
        self._callbacks = Callbacks(settings, database, chassis.producer, announcer, chassis.metrics, failpoints)

    def app(self) -> FastAPI:
        """The application with all routes."""
        app = docs.new_app()
        app.add_middleware(Crowd)
        app.add_middleware(Traced, tracing=self._chassis.tracing)
        problems.install(app, Refusals(self._chassis.metrics).count)
        # Before the routes that are described: an awaited system's answer needs nothing of their machinery.
        app.router.routes.insert(0, Route(f"/api{CALLBACK}", self._callbacks.receive, methods=["POST"]))
        app.include_router(self._api(), prefix="/api")
        docs.install(app, self._chassis.settings)
        metrics = self._chassis.metrics if self._chassis.settings.prometheus else None
        app.router.routes.extend(health_routes(self._chassis.health, metrics))
        return app

    async def run(self) -> None:
        """Read the tail until the service stops, then let announcements under way end."""
        await self.tail.run(self._chassis.stopping)
        await self._sender.background.drain(DRAIN_SECONDS)

    def _api(self) -> APIRouter:
        api = APIRouter()
        # The first route that fits is taken: fixed words before ids.
        route = docs.adder(api)
        route("POST", CALLBACK, self._callbacks.receive)
        route("POST", f"{CALLBACK}/progress", self._callbacks.progress)
        route("POST", "/processes/{workflow}", self._starts.start)
        route("GET", "/processes/status-counts", self._reads.status_counts)
        route("PUT", "/processes/resume-all", self._engine.resume_all)
        route("GET", "/processes/{process_id}", self._reads.process)
        route("PUT", "/processes/{process_id}/resume", self._orders.resume)
        route("PUT", "/processes/{process_id}/abort", self._orders.abort)
        route("PUT", "/processes/{process_id}/skip", self._orders.skip)
        route("PATCH", "/processes/{process_id}", self._orders.note)
        route("GET", "/processes/", self._reads.processes)
        route("GET", "/processes", self._reads.processes)
        route("DELETE", "/processes/{process_id}", self._orders.delete)
        route("GET", "/locks", self._locks.show)
        route("GET", "/subscriptions/{subscription_id}", self._locks.subscription)
        route("PUT", "/subscriptions/{subscription_id}/set_in_sync", self._locks.set_in_sync)
        route("GET", "/settings/status", self._engine.status)
        route("PUT", "/settings/status", self._engine.set_status)
        route("GET", "/workflows", self._workflows.show)
        route("POST", "/forms/{key}", self._free_forms.fill)
        route("GET", "/forms/", self._free_forms.show)
        route("GET", "/forms", self._free_forms.show)
        route("GET", "/events", self._events.stream)
        api.add_api_websocket_route("/ws/events", self._events.socket)
        return api


def main(settings: Settings) -> int:
    """Run a gateway until SIGTERM; returns the exit code of the process."""
    gateways: list[Gateway] = []

    def make_app(chassis: Chassis) -> FastAPI:
        chassis.settings.required_callback_secrets()
        gateways.append(Gateway(chassis))
        return gateways[0].app()

    async def run(_: Chassis) -> None:
        await gateways[0].run()

    return run_service("gateway", settings, run, app=make_app, wait=False)
