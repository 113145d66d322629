"""The route a callback step hands out, and keeping it out of everything that is stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

REDACTED = "<callback route>"


@dataclass(frozen=True, slots=True)
class CallbackRoute:
    """Where the outside system calls back; the token in it is a secret."""

    route: str = field(repr=False)
    token: str = field(repr=False)


def redact_text(text: str, callback: CallbackRoute) -> str:
    """Return the text with the route, and the token wherever else it stands, replaced."""
    if callback.token not in text:
        return text
    return text.replace(callback.route, REDACTED).replace(callback.token, REDACTED)


def redact(value: Any, callback: CallbackRoute) -> Any:
    """Return a JSON value without route and token, keys included."""
    if isinstance(value, str):
        return redact_text(value, callback)
    if isinstance(value, dict):
        return {redact_text(key, callback): redact(item, callback) for key, item in value.items()}
    if isinstance(value, list):
        return [redact(item, callback) for item in value]
    return value
