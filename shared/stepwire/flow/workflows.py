"""Workflows: a named list of steps with what it takes to start it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from stepwire.flow.arguments import explained
from stepwire.flow.binding import binder_for
from stepwire.flow.errors import DefinitionError, StepwireError, UnknownNode
from stepwire.flow.lists import Step, StepList, steps_of
from stepwire.flow.locations import UNKNOWN, Location, describe, location_of, location_of_author
from stepwire.flow.locks import LockName, with_locks
from stepwire.flow.manifest import Manifest, ManifestNode
from stepwire.flow.mistakes import (
    check_description,
    check_form,
    check_hook,
    check_predicate,
    check_queue,
    check_workflow_function,
)
from stepwire.flow.predicates import BuiltinPredicate, RunPredicate
from stepwire.flow.retry import Retry
from stepwire.flow.scopes import Lens
from stepwire.flow.steps import Authorizer, done, init
from stepwire.flow.targets import Target
from stepwire.flow.types import NodeKind

DEFAULT_QUEUE = "default"


@dataclass(frozen=True, eq=False)
class Workflow:
    """A workflow as its author wrote it, completed by Start and Done.

    Attributes:
        name: The name of the author's function; it is registered and started by this.
        description: What it does, for people.
        target: What it does to a subscription.
        steps: Its nodes; Start is the first.
        initial_input_form: The start form.
        run_predicate: May refuse a start.
        authorize_callback: Who may start it.
        retry_auth_callback: Who may ask for a retry, where a step does not say.
        queue: The queue of the steps that name none.
        location: Where the author wrote it.
    """

    name: str
    description: str
    target: Target
    steps: StepList
    initial_input_form: Callable[..., Any] | None = None
    run_predicate: RunPredicate | None = None
    authorize_callback: Authorizer | None = None
    retry_auth_callback: Authorizer | None = None
    queue: str = DEFAULT_QUEUE
    location: Location = UNKNOWN

    def __call__(self) -> StepList:
        """Refuse: a workflow is started by a command.

        Raises:
            StepwireError: always.
        """
        message = f"workflow {self.name!r} is not called: publish a StartProcess, or use stepwire.testing"
        raise StepwireError(message)

    def __repr__(self) -> str:
        return f"<workflow {self.name!r}>"

    @cached_property
    def manifest(self) -> Manifest:
        """The workflow without its code."""
        predicate = self.run_predicate
        return Manifest(
            workflow=self.name,
            description=self.description,
            target=self.target,
            nodes=tuple(_node(str(i), s, self._outside) for i, s in enumerate(self.steps, start=1)),
            has_form=self.initial_input_form is not None,
            has_predicate=predicate is not None,
            builtin_predicate=predicate.name if isinstance(predicate, BuiltinPredicate) else None,
            has_authorization=self.authorize_callback is not None,
        )

    @property
    def unreachable(self) -> StepList:
        """Steps that no process will ever come to: those behind an end that no condition may skip."""
        ends = (at for at, member in enumerate(self.steps, start=1) if _ends(member))
        return self.steps[next(ends, len(self.steps)) :]

    @cached_property
    def _by_path(self) -> dict[str, Step]:
        numbered = enumerate(self.steps, start=1)
        return {path: found for i, top in numbered for path, found in _paths(str(i), top, self._outside)}

    @property
    def _outside(self) -> _Around:
        return _Around(self.queue, guard=self.retry_auth_callback)

    def step_at(self, path: str) -> Step:
        """Return the step at `path` as the runner needs it: with the lenses and the retry policy of its groups.

        Raises:
            UnknownNode: there is none.
        """
        found = self._by_path.get(path)
        if found is None:
            raise UnknownNode(self.name, path)
        return found

    def prepare(self) -> None:
        """Work out how every parameter is filled, so that what cannot be filled is told before anything runs.

        Raises:
            DefinitionError: a parameter has an annotation that no JSON value can be converted to.
        """
        for found in self._by_path.values():
            _ = found.binder
        form = self.initial_input_form
        if form is not None and not isinstance(form, type):
            binder_for(form)


@explained('write @workflow("what it does")')
def workflow(  # noqa: PLR0913 - the arguments of a workflow
    description: str = "",
    initial_input_form: Callable[..., Any] | None = None,
    target: Target = Target.SYSTEM,
    *,
    run_predicate: RunPredicate | None = None,
    authorize_callback: Authorizer | None = None,
    retry_auth_callback: Authorizer | None = None,
    queue: str = DEFAULT_QUEUE,
    locks: Sequence[LockName] = (),
) -> Callable[[Callable[[], StepList]], Workflow]:
    """Make a workflow of a function that returns its steps; it is registered by the function's name.

    Args:
        description: What it does; empty: the first line of the function's docstring, else its name.
        initial_input_form: The start form: a generator of pages, or a function returning one page.
        target: What it does to a subscription.
        run_predicate: May refuse a start.
        authorize_callback: Who may start it.
        retry_auth_callback: Who may ask for a retry; None: who may start it.
        queue: The queue of the steps that name none.
        locks: Names of locks, as `with_lock` takes them, that are held from the first step to the last.

    Raises:
        DefinitionError: the function does not return a list of steps that can be run.
    """
    check_description(description)
    check_queue(queue)
    if initial_input_form is not None:
        check_form(initial_input_form, "initial_input_form")
    check_predicate(run_predicate)
    check_hook(authorize_callback, "authorize_callback")
    check_hook(retry_auth_callback, "retry_auth_callback")
    aim = _target(target)

    def decorate(function: Callable[[], StepList]) -> Workflow:
        check_workflow_function(function)
        location = location_of(function)
        return Workflow(
            name=function.__name__,
            description=description or _first_line(function) or function.__name__,
            target=aim,
            steps=with_locks(locks, complete(_listed(function, location), location)),
            initial_input_form=initial_input_form,
            run_predicate=run_predicate,
            authorize_callback=authorize_callback,
            retry_auth_callback=retry_auth_callback or authorize_callback,
            queue=queue,
            location=location,
        )

    return decorate


def complete(steps: StepList, location: Location = UNKNOWN) -> StepList:
    """Return the list with Start in front and an end behind, where the author left them out.

    Raises:
        DefinitionError: Start stands anywhere but in front, or under a condition.
    """
    started = steps if steps and steps[0].kind is NodeKind.START else init >> steps
    late = any(member.kind is NodeKind.START for member in started[1:])
    if late or started[0].scopes:
        problem = "Start stands behind another step" if late else "Start is wrapped"
        raise DefinitionError(problem, "use init once, in front, by itself", location)
    return started if _ends(started[-1]) else started >> done


def _ends(member: Step) -> bool:
    return member.kind in {NodeKind.DONE, NodeKind.ABORT} and not member.conditional


def _listed(function: Callable[[], StepList], location: Location) -> StepList:
    value: Any = function()
    if not isinstance(value, (Step, StepList)):
        problem = f"workflow {function.__name__!r} returns {describe(value)}"
        raise DefinitionError(problem, "return steps joined by >>", location)
    return steps_of(value)


def _target(value: Any) -> Target:
    try:
        return Target(value)
    except ValueError:
        problem = f"target={value!r} is none"
        raise DefinitionError(problem, f"use one of {', '.join(Target)}", location_of_author()) from None


def _first_line(function: Callable[..., Any]) -> str:
    lines = (function.__doc__ or "").strip().splitlines()
    return lines[0].strip() if lines else ""


@dataclass(frozen=True, slots=True)
class _Around:
    """What a node has from the groups around it, and from its workflow."""

    queue: str
    lenses: tuple[Lens, ...] = ()
    retry: Retry | None = None
    guard: Authorizer | None = None

    def over(self, step: Step) -> _Around:
        """What the sub-steps of `step` have."""
        queue = self.queue if step.queue is None else step.queue
        return _Around(queue, (*self.lenses, *step.lenses), step.retry or self.retry, self.guard_of(step))

    def guard_of(self, step: Step) -> Authorizer | None:
        """Who may ask for a retry of `step`."""
        return step.retry_auth_callback or self.guard


def _node(path: str, step: Step, around: _Around) -> ManifestNode:
    within = around.over(step)
    numbered = enumerate(step.children, start=1)
    return ManifestNode(
        path=path,
        kind=step.kind,
        name=step.name,
        queue=DEFAULT_QUEUE if step.kind.is_engine else within.queue,
        conditional=step.conditional,
        checked=step.checked,
        retry=None if step.retry is None else step.retry.named(),
        timeout_seconds=step.timeout_seconds,
        callback_timeout_seconds=step.callback_timeout_seconds,
        extended_by_progress=step.extended_by_progress,
        assignee=step.assignee,
        guarded=within.guard is not None,
        result_key=step.result_key,
        callback_route_key=step.callback_route_key,
        focused=bool(within.lenses),
        retry_from=step.retry_from,
        lock=step.lock,
        on_conflict=step.on_conflict,
        children=tuple(_node(f"{path}.{i}", child, within) for i, child in numbered),
    )


def _paths(path: str, step: Step, around: _Around) -> Iterator[tuple[str, Step]]:
    yield path, _seen(step, around)
    within = around.over(step)
    for number, child in enumerate(step.children, start=1):
        yield from _paths(f"{path}.{number}", child, within)


def _seen(step: Step, around: _Around) -> Step:
    """The step with what it has from around it; itself where that is nothing."""
    retry, guard = step.retry or around.retry, around.guard_of(step)
    seen = step.seen_through(around.lenses)
    if retry is seen.retry and guard is seen.retry_auth_callback:
        return seen
    return replace(seen, retry=retry, retry_auth_callback=guard)
