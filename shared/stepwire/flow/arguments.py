"""Arguments that a part of the language does not take: an author's mistake like any other, and told like any other."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from stepwire.flow.errors import DefinitionError
from stepwire.flow.locations import location_of_author

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")

_ALIKE = 0.5


def explained(remedy: str, called: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function raise a DefinitionError, with the author's line, where it is called with what it does not take.

    Args:
        remedy: What to do where too much or too little was given.
        called: What an author calls it; None: its name.
    """

    def explain(function: Callable[P, R]) -> Callable[P, R]:
        shown = called or f"{function.__name__}()"

        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except TypeError:
                mistake = _mistake(function, shown, remedy, args, kwargs)
                if mistake is None:
                    raise
                raise mistake from None

        return checked

    return explain


def explained_class(remedy: str) -> Callable[[type[C]], type[C]]:
    """Do the same for a class."""

    def explain(cls: type[C]) -> type[C]:
        changed: Any = cls
        changed.__init__ = explained(remedy, f"{cls.__name__}()")(changed.__init__)
        return cls

    return explain


def _mistake(
    function: Callable[..., Any], shown: str, remedy: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> DefinitionError | None:
    """What is wrong with the arguments; None: nothing, so that the function itself has raised."""
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        unknown = next((name for name in kwargs if name not in signature.parameters), None)
        if unknown is None:
            return DefinitionError(f"{shown}: {error}", remedy, location_of_author())
        return unknown_argument(shown, unknown, [name for name in signature.parameters if name != "self"])
    return None


def unknown_argument(shown: str, unknown: str, known: list[str]) -> DefinitionError:
    """Return the error for an argument that is not among those `known`, with the one that was probably meant."""
    alike = get_close_matches(unknown, known, n=1, cutoff=_ALIKE)
    remedy = f"did you mean {alike[0]}=?" if alike else f"it takes {', '.join(known)}"
    return DefinitionError(f"{shown} has no argument {unknown!r}", remedy, location_of_author())
