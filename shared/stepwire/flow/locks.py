"""Locks that authors name: `with_lock("vlan-pool:ams")(steps)` lets one process at a time through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from string import Formatter
from typing import Any

from stepwire.flow.arguments import explained
from stepwire.flow.errors import DefinitionError, InvalidLockName
from stepwire.flow.lists import Step, StepList, steps_of
from stepwire.flow.locations import describe, location_of_author
from stepwire.flow.mistakes import check_plain, wrong
from stepwire.flow.scopes import look
from stepwire.flow.types import NodeKind, State

LockName = str | Callable[..., Any]
MOST_CHARACTERS = 200
_CONFLICTS = ("queue", "reject")
_OPENING = frozenset({NodeKind.START, NodeKind.RELATE, NodeKind.LOCK})
_CLOSING = frozenset({NodeKind.UNLOCK, NodeKind.DONE, NodeKind.ABORT})


@explained('write with_lock("vlan-pool:ams")(steps)')
def with_lock(name: LockName, *, on_conflict: str = "queue") -> Callable[[Step | StepList], StepList]:
    """Return a wrapper: its steps run while the process holds the lock of this name, and no other process does.

    The lock is taken before the first of them and freed after the last, also when the process is aborted; one that
    failed keeps it until it is retried or aborted. A process that holds the lock already gets it again, and frees it
    where it took it first.

    Args:
        name: The name, as "vlan-pool:ams"; or a template filled from State, as "vlan-pool:{site}"; or a plain
            function whose parameters are filled as those of a step and which returns the name.
        on_conflict: Where another process has the lock: "queue" waits in line, by priority and age; "reject" fails
            the process with who holds it.

    Raises:
        DefinitionError: there can be no lock of that name, or there is no such way out of a conflict.
    """
    if on_conflict not in _CONFLICTS:
        raise wrong(f"with_lock has on_conflict={on_conflict!r}", 'use "queue" or "reject"')
    taking, freeing = _nodes(name, on_conflict)

    @explained("join the steps by >>", "what wraps steps")
    def wrap(steps: Step | StepList) -> StepList:
        return _enclosed(steps_of(steps), taking, freeing, {NodeKind.START}, {NodeKind.DONE})

    return wrap


def with_locks(names: Sequence[LockName], steps: StepList) -> StepList:
    """Return the list of a workflow that holds these locks, taken in their order, from its first step to its last.

    Raises:
        DefinitionError: there can be no lock of that name.
    """
    if not isinstance(names, (list, tuple)):
        raise wrong(f"locks={names!r} is no list", 'write locks=["vlan-pool:ams"]')
    for name in reversed(list(names)):
        steps = _enclosed(steps, *_nodes(name, "queue"), _OPENING, _CLOSING)
    return steps


def lock_name(step: Step, state: State) -> str:
    """Return the name of the lock that `step` takes, as its function makes it of State.

    Raises:
        InvalidLockName: it is no text that can name a lock.
        BindingError: a parameter of the function cannot be filled.
        Exception: whatever the function raises.
    """
    binder = step.binder
    if binder is None:
        return step.lock or ""
    positional, named = binder.bind(look(step.lenses, state))
    name = binder.function(*positional, **named)
    problem = _why_no_name(name)
    if problem is not None:
        raise InvalidLockName(describe(step.function), problem)
    return str(name)


def _enclosed(
    steps: StepList, taking: Step, freeing: Step, before: Iterable[NodeKind], behind: Iterable[NodeKind]
) -> StepList:
    """The list with a lock around all but the nodes of these kinds in front and behind."""
    first, last = 0, len(steps)
    while first < last and steps[first].kind in before:
        first += 1
    while last > first and steps[last - 1].kind in behind:
        last -= 1
    return StepList((*steps[:first], taking, *steps[first:last], freeing, *steps[last:]))


def _nodes(name: LockName, on_conflict: str) -> tuple[Step, Step]:
    function = name if not isinstance(name, str) else _template(name)
    if isinstance(name, str):
        shown, literal = name, None if function else _literal(name)
    else:
        shown, literal = _checked(name), None
    where = location_of_author()
    called = literal or shown
    taking = Step(f"Lock {called}", NodeKind.ACQUIRE, function, lock=literal, on_conflict=on_conflict, location=where)
    return taking, Step(f"Unlock {called}", NodeKind.RELEASE, location=where)


def _checked(function: Callable[..., Any]) -> str:
    if isinstance(function, type) or not callable(function):
        raise wrong(f"with_lock was given {function!r}", 'give it a name, as "vlan-pool:ams", or a function of State')
    check_plain(function, "with_lock(...)")
    name = getattr(function, "__name__", "<lambda>")
    return "named by State" if name == "<lambda>" else f"named by {name}"


def _template(text: str) -> Callable[..., Any] | None:
    """A function that fills the template, None where there is nothing to fill in."""
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise _no_template(text, str(error)) from error
    fields = [field for _, field, _, _ in parts if field is not None]
    plain = all(not form and not conversion for _, _, form, conversion in parts)
    if not all(field.isidentifier() for field in fields) or not plain:
        raise _no_template(text, "it may name keys of State only, as {site}")
    return _filling(text, fields) if fields else None


def _filling(text: str, fields: list[str]) -> Callable[[State], str]:
    def filled(state: State) -> str:
        missing = [field for field in fields if not isinstance(state.get(field), (str, int))]
        if missing:
            problem = f"State has no text or number under {', '.join(map(repr, missing))}"
            raise InvalidLockName(repr(text), problem)
        return text.format_map(state)

    return filled


def _literal(text: str) -> str:
    name = text.format()
    problem = _why_no_name(name)
    if problem is not None:
        raise wrong(f"with_lock({text!r}): {problem}", "give it a short name")
    return name


def _why_no_name(name: Any) -> str | None:
    if not isinstance(name, str):
        return f"a {type(name).__name__} is no name"
    if not name.strip() or not name.isprintable():
        return "the name cannot be shown"
    return f"the name has over {MOST_CHARACTERS} characters" if len(name) > MOST_CHARACTERS else None


def _no_template(text: str, why: str) -> DefinitionError:
    problem = f"with_lock({text!r}) cannot be filled from State: {why}"
    return wrong(problem, "write braces twice if they belong to the name")
