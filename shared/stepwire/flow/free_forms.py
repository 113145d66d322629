"""Free-standing forms: asked by themselves, under a key of their own, to start nothing.

They are registered where they are written, as the workflows of a package are found where they are: importing the
package is all an executor does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar, overload

from stepwire.flow.arguments import explained
from stepwire.flow.binding import STATE_PARAMETER, binder_for
from stepwire.flow.locations import UNKNOWN, Location, describe, location_of_author
from stepwire.flow.mistakes import check_form, check_form_key, check_queue, must_be_given, wrong
from stepwire.flow.types import State
from stepwire.flow.workflows import DEFAULT_QUEUE, Workflow

F = TypeVar("F", bound=Callable[..., Any])

_LATER: Any = object()
_REGISTERED: dict[str, FreeForm] = {}


@dataclass(frozen=True, eq=False)
class FreeForm:
    """A form as its author registered it.

    Attributes:
        key: Clients ask for it by this.
        form: The author's form.
        queue: The queue whose executors answer for it.
        location: Where it was registered.
    """

    key: str
    form: Callable[..., Any]
    queue: str = DEFAULT_QUEUE
    location: Location = UNKNOWN

    def state(self, reporter: str) -> State:
        """What the form may ask for by name; `reporter` is who asks."""
        return {"form_key": self.key, "reporter": reporter}

    def prepare(self) -> None:
        """Work out how every parameter is filled.

        Raises:
            DefinitionError: a parameter has an annotation that no JSON value can be converted to.
        """
        if not isinstance(self.form, type):
            binder_for(self.form)


@overload
def register_form(key: str, generator: F, *, queue: str = DEFAULT_QUEUE) -> F: ...


@overload
def register_form(key: str, *, queue: str = DEFAULT_QUEUE) -> Callable[[F], F]: ...


@explained('write @register_form("key") or register_form("key", form)')
def register_form(key: str, generator: Any = _LATER, *, queue: str = DEFAULT_QUEUE) -> Any:
    """Offer a form by itself: `POST /api/forms/{key}` asks it page by page, and answers what it returns.

    It is called, `register_form("configure_schedule", generator)`, or written as a decorator,
    `@register_form("configure_schedule")`; the form stays as it is. It may ask for `form_key` and `reporter` by name,
    or for both as `state`.

    Args:
        key: Clients ask for it by this.
        generator: A generator of pages, a function returning one page, or a page; plain or async.
        queue: The queue whose executors answer for it.

    Raises:
        DefinitionError: another form has the key, the key cannot be part of a path, or this is no form.
    """
    location = location_of_author()
    check_form_key(key)
    check_queue(queue)

    def register(form: F) -> F:
        _check(key, form)
        _add(FreeForm(key, form, queue, location))
        return form

    return register if generator is _LATER else register(generator)


def registered_forms() -> Mapping[str, FreeForm]:
    """Every form that the modules imported so far have registered, by its key."""
    return MappingProxyType(dict(_REGISTERED))


def _check(key: str, form: Any) -> None:
    use = f"register_form({key!r}, ...)"
    if isinstance(form, Workflow):
        raise wrong(f"{use} was given the workflow {form.name!r}", "give it the workflow's form")
    check_form(form, use)
    if isinstance(form, type):
        return
    known = {STATE_PARAMETER, *FreeForm(key, form).state("")}
    wanted = [p.name for p in inspect.signature(form).parameters.values() if must_be_given(p) and p.name not in known]
    if wanted:
        problem = f"form {key!r}, {describe(form)}, takes {', '.join(wanted)}, which nobody gives to it"
        raise wrong(problem, "take form_key, reporter or state, and look up or ask for the rest")


def _add(new: FreeForm) -> None:
    known = _REGISTERED.get(new.key)
    # A module that is imported again registers the same once more.
    if known is not None and known.location != new.location and known.form is not new.form:
        problem = f"two forms are registered as {new.key!r}, here and at {known.location}"
        raise wrong(problem, "give one of them another key", new.location)
    _REGISTERED[new.key] = new
