"""The application's own description: OpenAPI with examples, AsyncAPI, and pages that load nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from stepwire.chassis.settings import Settings
from stepwire_gateway import asyncapi, openapi
from stepwire_gateway.responses import json_response

ASSETS: Mapping[str, str] = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}

Handler = Callable[..., Any]


class Application(FastAPI):
    """FastAPI, whose description has our answers in place of its own."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document; it is made when it is first asked for."""
        if self.openapi_schema is None:
            described = super().openapi()
            openapi.complete(described, [route.path for route in self.routes if isinstance(route, Route)])
        return self.openapi_schema or {}


def new_app() -> FastAPI:
    """An application that describes itself at /openapi.json."""
    return Application(
        title="Stepwire",
        version="1",
        description="Starts workflows, shows their processes, and takes the callbacks of outside systems.",
        docs_url=None,
        redoc_url=None,
        # Spans and metrics would carry the paths of requests, and with them callback tokens.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )


def adder(router: APIRouter) -> Callable[[str, str, Handler], None]:
    """A function that adds routes with what is said about them; one nothing is said about is not shown."""

    def add(method: str, path: str, handler: Handler) -> None:
        known = openapi.OPERATIONS.get(f"{method} {path}")
        options: dict[str, Any] = {"include_in_schema": False} if known is None else {**known, "responses": None}
        router.add_api_route(path, handler, methods=[method], response_model=None, **options)

    return add


def install(app: FastAPI, settings: Settings) -> None:
    """Serve the pages, with assets from an installed package."""
    records = asyncapi.document(settings.topic_prefix, settings.kafka_bootstrap)
    package = files("fastapi_swagger.resources")
    contents = {name: (package / name).read_bytes() for name in ASSETS}

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in ASSETS:
            raise HTTPException(404)
        return Response(contents[name], media_type=ASSETS[name], headers={"Cache-Control": "max-age=86400"})

    async def records_json(_: Request) -> Response:
        return json_response(records)

    async def records_page(_: Request) -> Response:
        return HTMLResponse(asyncapi.page(records))

    app.router.routes.extend(
        [
            Route("/docs", _page),
            Route("/docs/assets/{name}", asset),
            Route("/asyncapi.json", records_json),
            Route("/asyncapi", records_page),
        ]
    )


async def _page(_: Request) -> HTMLResponse:
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Stepwire",
        swagger_js_url="/docs/assets/swagger-ui-bundle.js",
        swagger_css_url="/docs/assets/swagger-ui.css",
        swagger_favicon_url="/docs/assets/favicon-32x32.png",
    )
