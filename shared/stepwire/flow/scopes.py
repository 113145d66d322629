"""What surrounds a step: conditions that may skip it, lenses that show it a part of State.

The scopes of a step are kept outermost first. A condition sees what the lenses outside it show; a step sees what
all of its lenses show, and what it returns travels back through them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stepwire.flow.errors import InvalidResult
from stepwire.flow.locations import describe
from stepwire.flow.serialization import copy_json
from stepwire.flow.types import State


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """Run the step only where `predicate(state)` is true."""

    predicate: Callable[[State], Any]

    def holds(self, view: State) -> bool:
        """Ask the predicate; it gets a copy, so it cannot change State."""
        answer = self.predicate(copy_json(view))
        if inspect.isawaitable(answer):
            _close(answer)
            message = f"condition {describe(self.predicate)} is async: write it as a plain function"
            raise InvalidResult(message)
        return bool(answer)


@dataclass(frozen=True, slots=True, eq=False)
class Lens:
    """Show the step `get(state)`; afterwards State is `put(state, what the step made of it)`."""

    get: Callable[[State], Any]
    put: Callable[[State, State], Any]

    def view(self, outer: State) -> State:
        """Return the part of State the step works on, as a copy."""
        return _expect_dict(self.get(copy_json(outer)), self.get)

    def back(self, outer: State, inner: State) -> State:
        """Return State after the step has left its part as `inner`."""
        return _expect_dict(self.put(copy_json(outer), inner), self.put)


Scope = Condition | Lens


def focus(key: str) -> Lens:
    """Return the lens on the object under `key`; it is empty when the key is absent."""

    def get(state: State) -> Any:
        part = state.get(key, {})
        if not isinstance(part, dict):
            message = f"focussteps({key!r}) needs an object under state[{key!r}], found a {type(part).__name__}"
            raise InvalidResult(message)
        return part

    def put(state: State, part: State) -> State:
        return {**state, key: part}

    return Lens(get, put)


def lens(get: Callable[[State], Any], put: Callable[..., Any]) -> Lens:
    """Return a lens of the author's; `put` is `put(state, part)` or, curried, `put(state)(part)`."""
    if _takes_one(put):
        return Lens(get, lambda state, part: put(state)(part))
    return Lens(get, put)


def _takes_one(function: Callable[..., Any]) -> bool:
    kinds = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        # Some builtins do not tell what they take.
        return False
    return sum(p.kind in kinds for p in parameters) == 1


def _expect_dict(value: Any, made_by: Any) -> State:
    if not isinstance(value, dict):
        message = f"lens {describe(made_by)} returned a {type(value).__name__}: it must return an object"
        raise InvalidResult(message)
    return value


def _close(awaitable: Any) -> None:
    # A coroutine that is never awaited would warn when it is collected.
    close = getattr(awaitable, "close", None)
    if close is not None:
        close()


def holds(scopes: tuple[Scope, ...], state: State) -> bool:
    """Whether every condition among `scopes` is true, each asked with what it sees."""
    view = state
    last = _last_condition(scopes)
    for scope in scopes[: last + 1]:
        if isinstance(scope, Lens):
            view = scope.view(view)
        elif not scope.holds(view):
            return False
    return True


def _last_condition(scopes: tuple[Scope, ...]) -> int:
    return max((i for i, scope in enumerate(scopes) if isinstance(scope, Condition)), default=-1)


def lenses(scopes: tuple[Scope, ...]) -> tuple[Lens, ...]:
    """Return the lenses among `scopes`, outermost first."""
    return tuple(scope for scope in scopes if isinstance(scope, Lens))


def look(through: tuple[Lens, ...], state: State) -> State:
    """Return what a step behind these lenses sees."""
    for one in through:
        state = one.view(state)
    return state


def put_back(through: tuple[Lens, ...], state: State, inner: State) -> State:
    """Return the whole State after a step behind these lenses has left `inner`."""
    if not through:
        return inner
    below = put_back(through[1:], through[0].view(state), inner)
    return through[0].back(state, below)
