"""Pages and fields as they are given on the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepwire_cli.errors import WrongUsage
from stepwire_cli.forms.answers import parsed

Pages = list[dict[str, Any]]


def read_pages(text: str | None) -> Pages | None:
    """The pages in JSON text, in the file it names, or on standard input (`-`); None where none are given.

    One object is one page.

    Raises:
        WrongUsage: it is neither, or no list of objects.
    """
    if text is None:
        return None
    found = read_json(*_content(text))
    pages = [found] if isinstance(found, dict) else found
    if not isinstance(pages, list) or not all(isinstance(page, dict) for page in pages):
        raise WrongUsage('PAGES must be a JSON list with one object per page, such as [{"name": "value"}].')
    return pages


def read_object(text: str, name: str) -> dict[str, Any]:
    """The JSON object in `text`.

    Raises:
        WrongUsage: it is none.
    """
    found = read_json(text, name)
    if not isinstance(found, dict):
        raise WrongUsage(f'{name} must be a JSON object, such as {{"name": "value"}}.')
    return found


def read_json(text: str, name: str) -> Any:
    """The JSON value in `text`.

    Raises:
        WrongUsage: it is none; the sentence says where it stops to be.
    """
    try:
        return parsed(text)
    except json.JSONDecodeError as error:
        line = text.splitlines()[error.lineno - 1] if text else ""
        excerpt = line[max(error.colno - 21, 0) : error.colno + 19]
        at = f"line {error.lineno}, column {error.colno}"
        raise WrongUsage(f"{name} is no JSON at {at}, near {excerpt!r}: {error.msg}.") from error
    except ValueError as error:
        raise WrongUsage(f"{name} cannot be sent: {error}.") from error


def read_pairs(texts: Sequence[str] | None, separator: str, option: str) -> dict[str, str]:
    """Names and values written with `separator` between them.

    Raises:
        WrongUsage: one is not, or a name comes twice.
    """
    found: dict[str, str] = {}
    for text in texts or ():
        name, separated, value = text.partition(separator)
        if not separated or not name:
            raise WrongUsage(f"{option} {text!r} is not written as name{separator}value.")
        if name in found:
            raise WrongUsage(f"{option} gives {name!r} twice.")
        found[name] = value
    return found


def _content(text: str) -> tuple[str, str]:
    """The JSON text that was given, and what to call it."""
    if text == "-":
        return sys.stdin.read(), "standard input"
    if text.lstrip().startswith(("[", "{")):
        return text, "PAGES"
    path = Path(text.removeprefix("@"))
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise WrongUsage(f"PAGES {text!r} is neither JSON nor a file that can be read: {reason}.") from error
