"""Forms: pages of pydantic-forms, replayed from the first at every post.

A form is a generator that yields FormPage classes and returns a dict, an async generator that yields the dict last,
a plain or async function returning one class, or a class itself. pydantic-forms makes schemas and the words of its
errors; the walk is here, because pydantic-forms logs State on its way, knows sync and async forms apart only, and
lets some input (a field named "self", pages that are no objects) end in a TypeError.

pydantic-forms is imported when a form is used: it takes longer than the rest of the language together.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from stepwire.flow.binding import binder_for
from stepwire.flow.errors import FormIncomplete, FormInvalid, InvalidResult, SerializationError
from stepwire.flow.locations import describe, is_async
from stepwire.flow.serialization import to_json_value
from stepwire.flow.types import State
from stepwire.flow.workflows import Workflow

Form = Callable[..., Any]
LOCALE = "en_US"


class Page(NamedTuple):
    """What a frontend needs to show one page: its JSON schema, and what it says about itself."""

    form: dict[str, Any]
    meta: dict[str, Any] | None


class _End(NamedTuple):
    """The form has returned."""

    value: Any


def is_async_form(form: Form | None) -> bool:
    """Whether the form must be walked on an event loop."""
    return is_async(form)


def start_form(workflow: Workflow, state: State, pages: Sequence[Any], locale: str = LOCALE) -> State:
    """Return what the start form of `workflow` makes of `pages`; `state` is what the form may ask for by name.

    Raises:
        FormIncomplete: it wants another page.
        FormInvalid: a page does not validate, is no object, or is one too many.
        BindingError: the form asks for a key that `state` does not have.
        InvalidResult: the form yields or returns what a form must not.
    """
    if workflow.initial_input_form is None:
        return without_form(pages)
    return fill(workflow.initial_input_form, state, pages, locale)


async def start_form_async(workflow: Workflow, state: State, pages: Sequence[Any], locale: str = LOCALE) -> State:
    """Do as `start_form`, for forms of any kind; a sync form blocks the loop while it runs."""
    form = workflow.initial_input_form
    if form is None or not is_async_form(form):
        return start_form(workflow, state, pages, locale)
    return await fill_async(form, state, pages, locale)


def without_form(pages: Sequence[Any]) -> State:
    """Accept no page, or one empty page, where there is no form.

    Raises:
        FormInvalid: there is more.
    """
    _check_pages(pages)
    if len(pages) > 1:
        raise _overflow(len(pages), 0)
    if pages and pages[0]:
        raise FormInvalid([_error([key], "Extra inputs are not permitted", "extra_forbidden") for key in pages[0]])
    return {}


def fill(form: Form, state: State, pages: Sequence[Any], locale: str = LOCALE) -> State:
    """Return what a sync form makes of `pages`; errors as of `start_form`."""
    walk, source = _walk(form, pages, locale), _open(form, state)
    answer = next(walk)
    try:
        while True:
            try:
                asked = source.send(answer)
            except StopIteration as end:
                asked = _End(end.value)
            answer = walk.send(asked)
    except _Filled as filled:
        return filled.state
    finally:
        source.close()


async def fill_async(form: Form, state: State, pages: Sequence[Any], locale: str = LOCALE) -> State:
    """Return what an async form makes of `pages`; errors as of `start_form`."""
    walk, source = _walk(form, pages, locale), _open_async(form, state)
    answer = next(walk)
    try:
        while True:
            try:
                asked = await source.asend(answer)
            except StopAsyncIteration:
                asked = _End(None)
            answer = walk.send(_End(asked) if isinstance(asked, dict) else asked)
    except _Filled as filled:
        return filled.state
    finally:
        await source.aclose()


def first_page(form: Form, state: State) -> Page | None:
    """Return the first page of a sync form, or None if it wants none."""
    try:
        fill(form, state, [])
    except FormIncomplete as wanted:
        return Page(wanted.form, wanted.meta)
    return None


async def first_page_async(form: Form, state: State) -> Page | None:
    """Return the first page of an async form, or None if it wants none."""
    try:
        await fill_async(form, state, [])
    except FormIncomplete as wanted:
        return Page(wanted.form, wanted.meta)
    return None


class _Filled(Exception):  # noqa: N818 - no error: how the walk ends
    """The form took every page and returned."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self.state = state


def _walk(form: Form, pages: Sequence[Any], locale: str) -> Generator[BaseModel | None, Any, None]:
    """Yield what to send into the form and receive what it asks; both drivers above run it.

    Raises `_Filled` at the good end, FormIncomplete and FormInvalid at the others.
    """
    _check_pages(pages)
    asked = yield None
    for index, page in enumerate(pages):
        if isinstance(asked, _End):
            raise _overflow(len(pages), index)
        asked = yield _validated(_page_class(form, asked), page, locale)
    if isinstance(asked, _End):
        raise _Filled(_result(form, asked.value))
    raise _incomplete(_page_class(form, asked))


def _open(form: Form, state: State) -> Generator[Any, Any, Any]:
    made = form if isinstance(form, type) else _call(form, state)
    if inspect.isgenerator(made):
        return made
    return _one_page(made)


def _one_page(page: Any) -> Generator[Any, BaseModel, State]:
    filled = yield page
    return filled.model_dump()


def _open_async(form: Form, state: State) -> AsyncGenerator[Any, Any]:
    made = _call(form, state)
    if inspect.isasyncgen(made):
        return made
    return _one_page_async(made)


async def _one_page_async(page: Awaitable[Any]) -> AsyncGenerator[Any, BaseModel]:
    filled = yield await page
    yield filled.model_dump()


def _call(form: Form, state: State) -> Any:
    positional, named = binder_for(form).bind(state)
    return form(*positional, **named)


def _page_class(form: Form, asked: Any) -> type[BaseModel]:
    if isinstance(asked, type) and issubclass(asked, BaseModel):
        return asked
    message = f"form {describe(form)} asks for a page that is {describe(asked)}: yield a FormPage class"
    raise InvalidResult(message)


def _result(form: Form, value: Any) -> State:
    if not isinstance(value, dict):
        message = f"form {describe(form)} returned a {type(value).__name__}: return a dict"
        raise InvalidResult(message)
    result: State = to_json_value(value, "form")
    return result


def _validated(asked: type[BaseModel], page: dict[str, Any], locale: str) -> BaseModel:
    _check_storable(page)
    # Passed as keywords below, this one would collide with the method's own parameter.
    if "self" in page:
        raise FormInvalid([_error(["self"], "Extra inputs are not permitted", "extra_forbidden")])
    try:
        return asked(**page)
    except ValidationError as exc:
        raise FormInvalid(_explained(asked, exc, locale)) from None


def _explained(asked: type[BaseModel], exc: ValidationError, locale: str) -> list[dict[str, Any]]:
    from pydantic_forms.core import form_errors  # noqa: PLC0415 - slow to import, see above
    from pydantic_forms.core.shared import validation_error  # noqa: PLC0415

    return [error.model_dump() for error in form_errors(validation_error(asked, exc, locale))]


def _incomplete(asked: type[BaseModel]) -> FormIncomplete:
    from pydantic_forms.core import page_schema  # noqa: PLC0415 - slow to import, see above
    from pydantic_forms.core.shared import get_form_meta  # noqa: PLC0415

    return FormIncomplete(page_schema(asked), get_form_meta(asked))


def _check_pages(pages: Sequence[Any]) -> None:
    if not isinstance(pages, (list, tuple)):
        raise FormInvalid([_error(["__root__"], "The input must be a list of pages", "list_type")])
    for index, page in enumerate(pages):
        if not isinstance(page, dict):
            raise FormInvalid([_error([index], "A page must be an object", "dict_type")])


def _check_storable(page: dict[str, Any]) -> None:
    try:
        to_json_value(page, "page")
    except SerializationError as exc:
        raise FormInvalid([_error(["__root__"], str(exc), "value_error")]) from None


def _overflow(given: int, wanted: int) -> FormInvalid:
    message = f"{given} pages were given, the form has {wanted}"
    return FormInvalid([_error(["__root__"], message, "too_many_pages")])


def _error(loc: list[str | int], msg: str, kind: str) -> dict[str, Any]:
    return {"loc": loc, "msg": msg, "type": kind}
