"""Forms that stand by themselves: asked page by page, and answered with what they return."""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from stepwire.chassis.settings import Settings
from stepwire.contracts.base import Page
from stepwire.contracts.forms import FormRequest
from stepwire.data import forms
from stepwire_gateway.bodies import read_pages
from stepwire_gateway.database import Database
from stepwire_gateway.problems import Problem, malformed
from stepwire_gateway.replies import Forms
from stepwire_gateway.responses import json_response
from stepwire_gateway.sending import GATEWAY

NUL = "\x00"


class FreeForms:
    """Takes the pages of forms that start nothing."""

    def __init__(self, settings: Settings, database: Database, forms: Forms) -> None:
        self._settings = settings
        self._database = database
        self._forms = forms

    async def fill(self, request: Request, key: str, reporter: str | None = None) -> Response:
        """Fill in a form that was registered by itself; 510 asks for the next page."""
        pages = await read_pages(request, self._settings.body_max_bytes)
        if reporter is not None and NUL in reporter:
            raise malformed("reporter must not contain NUL; remove the character")
        queue = await self._queue(key)
        reply = await self._forms.check(self._question(key, pages, reporter), queue)
        return json_response(reply.result or {})

    async def show(self, _: Request) -> Response:
        """The keys of all forms that executors have offered."""
        return json_response(await self._database.run(forms.form_keys))

    async def _queue(self, key: str) -> str:
        # PostgreSQL takes no text with NUL, and no form has such a key.
        queue = None if NUL in key else await self._database.run(lambda found: forms.queue_of_form(found, key))
        if queue is None:
            detail = f"there is no form {key[:200]!r}; check its key"
            raise Problem(HTTPStatus.NOT_FOUND, "unknown_form", detail)
        return queue

    def _question(self, key: str, pages: list[Page], reporter: str | None) -> FormRequest:
        return FormRequest(
            source=GATEWAY,
            gateway=self._forms.instance,
            kind="form",
            form_key=key,
            user_inputs=pages,
            user=reporter or GATEWAY,
            reporter=reporter or GATEWAY,
            deadline_seconds=self._settings.form_timeout_seconds,
        )
