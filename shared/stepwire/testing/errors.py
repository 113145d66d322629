"""What tests of workflows are told."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any
from uuid import UUID

from stepwire.flow.errors import StepwireError


class Refused(StepwireError):  # noqa: N818 - an answer, named by what it is
    """A wish was refused.

    Attributes:
        reason: The code that a sender would be told.
        detail: The sentence.
        errors: What is wrong with its pages.
        holder: The process that holds the lock.
    """

    def __init__(
        self, reason: str, detail: str, errors: Iterable[dict[str, Any]] = (), holder: UUID | None = None
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.holder = holder
        self.reason = reason
        self.detail = detail
        self.errors = list(errors)


class Misuse(StepwireError):  # noqa: N818 - named by what it is, as above
    """A test asks for what cannot be; one sentence says what to write instead."""


def near(name: str, known: Iterable[str]) -> str:
    """What was probably meant: the known names that look like `name`, else all of them."""
    names = sorted(set(known))
    alike = get_close_matches(name, names, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, alike))}?" if alike else f"there are {', '.join(map(repr, names))}"
