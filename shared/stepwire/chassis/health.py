"""What a service answers when it is asked how it is: live, ready, metrics."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stepwire.chassis.metrics import Metrics


class Health:
    """Readiness by dependency. Written and read on the service's loop; a loop that answers is alive."""

    def __init__(self) -> None:
        self._problems: dict[str, str | None] = {}

    def set(self, dependency: str, problem: str | None) -> None:
        """Record what is wrong with `dependency`, or None when it is well."""
        self._problems[dependency] = problem

    @property
    def reasons(self) -> dict[str, str]:
        """What is wrong, by dependency; empty when ready."""
        return {name: problem for name, problem in self._problems.items() if problem is not None}

    @property
    def ready(self) -> bool:
        """Whether the service can do its work now."""
        return not self.reasons

    @property
    def dependencies(self) -> dict[str, str]:
        """`ok` or the problem, by dependency."""
        return {name: problem or "ok" for name, problem in self._problems.items()}


def health_routes(health: Health, metrics: Metrics | None) -> list[Route]:
    """`/health/live`, `/health/ready` and, where `metrics` is given, `/metrics`."""

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(_: Request) -> Response:
        status = "ready" if health.ready else "not ready"
        body = {"status": status, "dependencies": health.dependencies, "reasons": health.reasons}
        return JSONResponse(body, status_code=200 if health.ready else 503)

    routes = [Route("/health/live", live), Route("/health/ready", ready)]
    if metrics is not None:
        routes.append(_metrics_route(metrics))
    return routes


def health_app(health: Health, metrics: Metrics | None) -> Starlette:
    """The small application of a service that has no HTTP of its own."""
    return Starlette(routes=health_routes(health, metrics))


def _metrics_route(metrics: Metrics) -> Route:
    async def show(_: Request) -> Response:
        return Response(metrics.render(), media_type=metrics.content_type)

    return Route("/metrics", show)
