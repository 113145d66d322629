"""The few shapes of Markdown that the reference consists of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a cell may hold Markdown of one line."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def code(text: object) -> str:
    """Text as code; nothing stays nothing."""
    return f"`{text}`" if str(text) else ""


def block(text: str, language: str = "text") -> str:
    """A block of code."""
    return f"```{language}\n{text.rstrip()}\n```\n"


def json_block(value: Any) -> str:
    """A JSON value as it would be sent, with indentation."""
    return block(json.dumps(value, indent=2, ensure_ascii=False, default=str), "json")


def folded(title: str, content: str) -> str:
    """Content that is shown when its title is pressed."""
    indented = "".join(f"    {line}\n" if line else "\n" for line in content.splitlines())
    return f'??? note "{title}"\n\n{indented}\n'


def first_sentence(text: str | None) -> str:
    """The first paragraph of a docstring, as one line."""
    return " ".join((text or "").strip().split("\n\n")[0].split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
