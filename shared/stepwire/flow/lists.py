"""Steps and lists of steps: the values a workflow is written with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self, SupportsIndex, overload

from stepwire.flow.binding import Binder, binder_for
from stepwire.flow.errors import DefinitionError, StepwireError
from stepwire.flow.locations import (
    UNKNOWN,
    Location,
    describe,
    is_async,
    is_of_library,
    location_of,
    location_of_author,
)
from stepwire.flow.retry import Retry
from stepwire.flow.scopes import Condition, Lens, Scope, lenses
from stepwire.flow.types import NodeKind

_COPIED = ("__module__", "__name__", "__qualname__", "__doc__")


@dataclass(frozen=True, eq=False)
class Step:
    """One node of a workflow: what runs, and how.

    A step may be used any number of times. The author's function is `function` (and `__wrapped__`), unchanged;
    calling the step calls it. Compared by identity.

    Attributes:
        name: The sentence the operator reads.
        kind: What kind of node it is.
        function: What runs; of an input step its form; None where the engine acts alone.
        queue: Executors serving this queue run it; None: the queue of the workflow.
        timeout_seconds: It fails when it runs longer; None: the timeout of the settings.
        retry: Its policy of automatic retries; None: none (retrystep: the policy of the settings).
        assignee: Who is to act, of an input step.
        children: Sub-steps of a group; action and validation of a callback step.
        scopes: Conditions and lenses around it, outermost first.
        checked: Of a lock: False takes it only if it is free and goes on without it otherwise.
        callback_timeout_seconds: How long a callback is awaited; None: without limit.
        extended_by_progress: News about the callback begin that time anew.
        result_key: Where a callback's payload is put.
        callback_route_key: Where a callback's action finds its route.
        retry_from: Where the retry of a failed group begins: "first" or "failed".
        lock: The name of the lock it takes; None: its function makes it of State.
        on_conflict: What it does where another process has that lock: "queue" or "reject".
        resume_auth_callback: Who may give the input.
        retry_auth_callback: Who may ask for a retry.
        location: Where the author wrote it.
    """

    name: str
    kind: NodeKind
    function: Callable[..., Any] | None = None
    queue: str | None = None
    timeout_seconds: float | None = None
    retry: Retry | None = None
    assignee: str | None = None
    children: tuple[Step, ...] = ()
    scopes: tuple[Scope, ...] = ()
    checked: bool = True
    callback_timeout_seconds: float | None = None
    extended_by_progress: bool = False
    result_key: str | None = None
    callback_route_key: str | None = None
    retry_from: str | None = None
    lock: str | None = None
    on_conflict: str | None = None
    resume_auth_callback: Callable[..., Any] | None = None
    retry_auth_callback: Callable[..., Any] | None = None
    location: Location = UNKNOWN

    def __post_init__(self) -> None:
        function = self.function
        if function is None:
            return
        self.__dict__.update({name: getattr(function, name) for name in _COPIED if hasattr(function, name)})
        self.__dict__["__wrapped__"] = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the author's function as it was written, outside of any workflow.

        Raises:
            StepwireError: the step has no function of its own (a group, or a node of the engine).
        """
        if self.function is None:
            message = f"step {self.name!r} has no function to call: it is a {self.kind} node"
            raise StepwireError(message)
        return self.function(*args, **kwargs)

    def __rshift__(self, other: Step | StepList) -> StepList:
        return StepList((self,)) >> other

    def __rrshift__(self, other: Any) -> StepList:
        raise not_a_step(other)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r}>"

    @cached_property
    def is_async(self) -> bool:
        """Whether the function runs on an event loop (of an input step: whether its form does)."""
        return is_async(self.function)

    @cached_property
    def conditional(self) -> bool:
        """Whether a condition may skip it."""
        return any(isinstance(scope, Condition) for scope in self.scopes)

    @cached_property
    def lenses(self) -> tuple[Lens, ...]:
        """The lenses it looks through, outermost first."""
        return lenses(self.scopes)

    @cached_property
    def binder(self) -> Binder | None:
        """How the parameters of its function are filled.

        Raises:
            DefinitionError: a parameter has an annotation that no JSON value can be converted to.
        """
        # A class is a form of one page: it asks for nothing.
        if self.function is None or isinstance(self.function, type):
            return None
        return binder_for(self.function)

    def within(self, scope: Scope) -> Step:
        """Return this step with one more scope around it; what was locked is freed whatever surrounds it."""
        if self.kind is NodeKind.RELEASE:
            return self
        return replace(self, scopes=(scope, *self.scopes))

    def seen_through(self, outer: tuple[Lens, ...]) -> Step:
        """Return this step as it is inside a group that looks through `outer`; conditions are the group's own."""
        return replace(self, scopes=(*outer, *self.scopes)) if outer else self


class StepList(tuple[Step, ...]):
    """Steps in order; `>>` makes a longer one."""

    __slots__ = ()

    def __new__(cls, steps: Iterable[Step] = ()) -> Self:
        """Return the list of these steps, each of which must be one."""
        members = tuple(steps)
        for member in members:
            if not isinstance(member, Step):
                raise not_a_step(member)
        return super().__new__(cls, members)

    def __rshift__(self, other: Step | StepList) -> StepList:
        return StepList((*self, *steps_of(other)))

    def __rrshift__(self, other: Any) -> StepList:
        raise not_a_step(other)

    @overload
    def __getitem__(self, key: SupportsIndex, /) -> Step: ...
    @overload
    def __getitem__(self, key: slice, /) -> StepList: ...
    def __getitem__(self, key: SupportsIndex | slice, /) -> Step | StepList:
        found = super().__getitem__(key)
        return found if isinstance(found, Step) else StepList(found)

    def __repr__(self) -> str:
        return f"StepList [{', '.join(step.name for step in self)}]"

    def map(self, function: Callable[[Step], Step]) -> StepList:
        """Return the list of what `function` makes of each step."""
        return StepList(function(step) for step in self)

    def without_ends(self) -> StepList:
        """Return the list without a Start in front and a Done behind, for a wrapper that puts its own there."""
        begin = 1 if self and self[0].kind is NodeKind.START else 0
        end = len(self) - 1 if len(self) > begin and self[-1].kind is NodeKind.DONE else len(self)
        return self[begin:end]


def steps_of(value: Step | StepList) -> StepList:
    """Return a step or a list as a list.

    Raises:
        DefinitionError: it is neither.
    """
    if isinstance(value, StepList):
        return value
    if isinstance(value, Step):
        return StepList((value,))
    raise not_a_step(value)


def single_step(value: Step | StepList, role: str) -> Step:
    """Return the only step of `value`, which is to be the `role`."""
    members = steps_of(value)
    if len(members) != 1:
        problem = f"{role} is a list of {len(members)} steps"
        raise DefinitionError(problem, "give one step", location_of_author())
    return members[0]


def not_a_step(value: Any) -> DefinitionError:
    """Return the error for something in a list that is no step, naming it and where it stands."""
    where = ""
    if _is_of_author(value):
        where = f", defined at {location_of(value)},"
    problem = f"{describe(value)}{where} is not a step"
    return DefinitionError(problem, _remedy(value), location_of_author())


def _is_of_author(value: Any) -> bool:
    function = callable(value) and getattr(value, "__code__", None) is not None
    return function and not getattr(value, "__module__", "").startswith("stepwire.")


def _remedy(value: Any) -> str:
    if isinstance(value, (list, tuple, set)):
        return "join steps by >>"
    if isinstance(value, str):
        return "write the step itself, without quotes"
    if is_of_library(value):
        return "join steps; a workflow is started by itself, also in a step by start_process"
    if value is None or isinstance(value, dict):
        return "write the name of the step without calling it, as in init >> my_step >> done"
    if callable(value) and not _is_of_author(value) and getattr(value, "__code__", None) is not None:
        return 'it waits to be called: write @step("what it does") above a function, conditional(predicate)(steps)'
    return 'decorate the function with @step("what it does")'
