"""OpenAPI with examples, and its page, which loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "favicon-32x32.png": "image/png"}

Handler = Callable[..., Any]


def new_app() -> FastAPI:
    """An application that describes itself at /openapi.json."""
    return FastAPI(
        title="Stepwire",
        version="0.1.0",
        description="Starts workflows, shows their processes, and takes the callbacks of outside systems.",
        docs_url=None,
        redoc_url=None,
    )


def adder(router: APIRouter) -> Callable[[str, str, Handler], None]:
    """A function that adds routes with their documentation."""

    def add(method: str, path: str, handler: Handler) -> None:
        router.add_api_route(path, handler, methods=[method], response_model=None)

    return add


def install(app: FastAPI) -> None:
    """Serve the page at /docs with assets from an installed package."""
    package = files("fastapi_swagger.resources")
    contents = {name: (package / name).read_bytes() for name in ASSETS}

    async def asset(name: str) -> Response:
        if name not in ASSETS:
            return Response(status_code=404)
        return Response(contents[name], media_type=ASSETS[name], headers={"Cache-Control": "max-age=86400"})

    async def page(_: Request) -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Stepwire",
            swagger_js_url="/docs/assets/swagger-ui-bundle.js",
            swagger_css_url="/docs/assets/swagger-ui.css",
            swagger_favicon_url="/docs/assets/favicon-32x32.png",
        )

    app.add_api_route("/docs", page, include_in_schema=False)
    app.add_api_route("/docs/assets/{name}", asset, include_in_schema=False)
