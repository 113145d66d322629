"""Forms that start nothing: which there are, and what they make of their pages."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from rich.text import Text

from stepwire_cli.errors import Failed, Refused, near
from stepwire_cli.forms.filling import Pages
from stepwire_cli.gateway import Gateway
from stepwire_cli.options import user_or_login
from stepwire_cli.output import facts, show
from stepwire_cli.starting import Input


def show_all(url: str | None, *, as_json: bool) -> None:
    """Print the keys of all forms."""
    with Gateway(url) as gateway:
        keys = gateway.get("/forms/")
    show(keys, lambda: Text("\n".join(keys) or "There is no form."), as_json=as_json)


def fill(key: str, given: Input, url: str | None, user: str | None, *, as_json: bool) -> None:
    """Ask for what is missing, and print what the form returns."""
    path, params = f"/forms/{quote(key, safe='')}", {"reporter": user_or_login(user)}
    with Gateway(url) as gateway:

        def send(pages: Pages) -> Any:
            return gateway.send("POST", path, json=pages, params=params).json()

        try:
            result = given.fill(send)
        except Refused as refused:
            # A slash in it makes another path, at which there is nothing either.
            if refused.status == HTTPStatus.NOT_FOUND:
                raise _unknown(gateway, key) from refused
            raise
    show(result, lambda: facts((name, _shown(value)) for name, value in result.items()), as_json=as_json)


def _unknown(gateway: Gateway, key: str) -> Failed:
    known = gateway.get("/forms/")
    hint = near(key, known) if known else ": no executor has offered any yet."
    return Failed(f"there is no form {key!r}{hint}")


def _shown(value: Any) -> Text:
    return Text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
