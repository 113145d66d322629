"""Where an author wrote something, for messages that lead back to it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

_LIBRARY = __name__.partition(".")[0]


class Location(NamedTuple):
    """A line of an author's file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


UNKNOWN = Location("<unknown>", 0)


def location_of(function: Callable[..., Any]) -> Location:
    """Return where `function` is defined; of a class or another callable, where the author mentions it."""
    code = getattr(written(function), "__code__", None)
    if code is None:
        return location_of_author()
    return Location(code.co_filename, code.co_firstlineno)


def layers(function: Any) -> list[Any]:
    """Return a callable and what lies beneath it: decorators, `partial(...)` and `__call__` lead deeper."""
    found = [function]
    # An object that has every attribute leads to others for ever.
    while len(found) < sys.getrecursionlimit() and (inner := _beneath(found[-1])) is not None:
        found.append(inner)
    return found


def written(function: Any) -> Any:
    """Return the function that an author wrote, beneath whatever wraps it."""
    return layers(function)[-1]


def is_async(function: Any) -> bool:
    """Whether a callable, or what it wraps, is `async def`."""
    return any(inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one) for one in layers(function))


def _beneath(function: Any) -> Any:
    if isinstance(function, type):
        return None
    if isinstance(function, partial):
        return function.func
    if inspect.isroutine(function) or hasattr(function, "__wrapped__"):
        return getattr(function, "__wrapped__", None)
    call = getattr(type(function), "__call__", None)  # noqa: B004 - the function itself is wanted
    return call if inspect.isfunction(call) else None


def location_of_author() -> Location:
    """Return the innermost line on the call stack that lies outside this library."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] != _LIBRARY:
            return Location(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return UNKNOWN


def is_of_library(value: Any) -> bool:
    """Whether a value is an object of this library, as a step or a workflow: no function, even if it can be called."""
    return type(value).__module__.partition(".")[0] == _LIBRARY


def describe(function: Any) -> str:
    """Return `module.qualname` of a callable, or the type of anything else."""
    name = getattr(function, "__qualname__", None)
    if name is None or not callable(function):
        return f"a {type(function).__qualname__}"
    return f"{getattr(function, '__module__', '?')}.{name}"
