"""What authors may get wrong in a definition: told at import, with their line and what to do."""

from __future__ import annotations

import inspect
import math
import re
import warnings
from collections.abc import Callable
from enum import Enum
from typing import Any

from pydantic import BaseModel

from stepwire.flow.binding import has_variadics
from stepwire.flow.errors import DefinitionError, SerializationError
from stepwire.flow.lists import Step, StepList
from stepwire.flow.locations import (
    Location,
    describe,
    is_async,
    is_of_library,
    location_of,
    location_of_author,
    written,
)
from stepwire.flow.retry import Retry
from stepwire.flow.serialization import dump

_QUEUE = re.compile(r"[A-Za-z0-9._-]{1,100}")
# Part of a path: no slash, and neither "." nor "..", which clients take for folders.
_FORM_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:-]{0,99}")


def wrong(problem: str, remedy: str, location: Location | None = None) -> DefinitionError:
    """Return the error that tells `problem`, where the author wrote it unless `location` says better."""
    return DefinitionError(problem, remedy, location or location_of_author())


def check_name(name: Any, decorator: str) -> None:
    """Refuse what is no name of a step.

    Raises:
        DefinitionError: it is none, as all checks here.
    """
    _check_text(name, decorator, "a name", _named(decorator))
    if not name.strip() or not _can_be_stored(name):
        raise wrong(f"{decorator} has no name that can be shown", "write what it does in a sentence")


def check_description(description: Any) -> None:
    """Refuse what does not tell people what a workflow does."""
    _check_text(description, "@workflow", "a description", _named("workflow"))
    if not _can_be_stored(description):
        raise wrong(f"the description {description!r} cannot be shown", "write what it does in a sentence")


def _check_text(value: Any, decorator: str, wanted: str, remedy: str) -> None:
    """Refuse a function above all: its decorator was written without parentheses."""
    if not isinstance(value, str):
        location = location_of(value) if inspect.isfunction(value) else None
        raise wrong(f"{decorator} was given {describe(value)} instead of {wanted}", remedy, location)


def _named(decorator: str) -> str:
    is_decorator = decorator in {"step", "retrystep", "inputstep", "workflow"}
    return f'write {"@" * is_decorator}{decorator}("what it does"{"" if is_decorator else ", ..."})'


def check_key(key: Any, argument: str) -> None:
    """Refuse what is no key of State."""
    if not isinstance(key, str) or not key.strip() or not _can_be_stored(key):
        raise wrong(f"{argument}={key!r} is no key of State", "give the key as a text")


def _can_be_stored(text: str) -> bool:
    """As a value of State can: neither NUL nor half of a character."""
    try:
        dump(text)
    except SerializationError:
        return False
    return True


def check_run(queue: Any, timeout: Any, retry: Any) -> None:
    """Refuse arguments that say how a step is to run, but do not."""
    if queue is not None:
        check_queue(queue)
    check_seconds(timeout, "timeout")
    if retry is not None and not isinstance(retry, Retry):
        raise wrong(f"retry={retry!r} is no policy", "give Retry(delay_seconds=..., times=...)")


def check_seconds(value: Any, argument: str) -> None:
    """Refuse what is no duration."""
    if value is None:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise wrong(f"{argument}={value!r} is not a number of seconds above 0", "give seconds, as 30 or 0.5, or None")


def check_queue(queue: Any) -> None:
    """Refuse the name of a queue that no topic can be named after."""
    if not isinstance(queue, str) or not _QUEUE.fullmatch(queue):
        problem = f"queue={queue!r} cannot be the name of a queue"
        raise wrong(problem, "use up to 100 letters, digits, '-', '_' or '.'")


def check_callable(function: Any, use: str) -> None:
    """Refuse what is no function."""
    if is_of_library(function) or not callable(function):
        called = inspect.isgenerator(function) or inspect.isawaitable(function)
        remedy = "give it the function without calling it" if called else "give it a function"
        raise wrong(f"{use} was given {_shown(function)}", remedy)


def check_hook(hook: Any, argument: str) -> None:
    """Refuse what nobody can be asked."""
    if hook is not None and (isinstance(hook, type) or is_of_library(hook) or not callable(hook)):
        raise wrong(
            f"{argument}={_shown(hook)} is no function", "give a function of the user that returns True or False"
        )


def check_plain(function: Any, use: str) -> None:
    """Refuse what cannot be asked many times without waiting for it."""
    check_callable(function, use)
    if is_async(function):
        raise wrong(f"{use} was given {describe(function)}, which is async", "write it as a plain function of State")


def check_of_state(function: Any, use: str) -> None:
    """Refuse what is no plain function of State alone."""
    check_plain(function, use)
    try:
        inspect.signature(function).bind("state")
    except TypeError as error:
        problem = f"{use} was given {describe(function)}, which cannot be called with State alone: {error}"
        raise wrong(problem, "let it take State and nothing else") from None
    except ValueError:
        # Some builtins do not tell what they take.
        return


def check_of_part(function: Any, use: str) -> None:
    """Refuse what takes neither State and what was made of a part of it, nor State alone."""
    check_plain(function, use)
    try:
        signature = inspect.signature(function)
    except ValueError:
        # As above.
        return
    if not any(_takes(signature, given) for given in (("state", "part"), ("state",))):
        problem = f"{use} was given {describe(function)}, which cannot be called with State and the changed part"
        raise wrong(problem, "let it take these two and nothing else")


def _takes(signature: inspect.Signature, given: tuple[str, ...]) -> bool:
    try:
        signature.bind(*given)
    except TypeError:
        return False
    return True


def check_form(form: Any, use: str) -> None:
    """Refuse what asks nobody for anything."""
    check_callable(form, use)
    if isinstance(form, type) and not issubclass(form, BaseModel):
        raise wrong(f"{use} was given {describe(form)}", "give a subclass of FormPage, or a function that yields pages")


def check_form_key(key: Any) -> None:
    """Refuse what no form can be asked for by."""
    if not isinstance(key, str):
        location = location_of(key) if inspect.isfunction(key) else None
        problem = f"register_form was given {describe(key)} instead of a key"
        raise wrong(problem, 'write @register_form("key") or register_form("key", form)', location)
    if not _FORM_KEY.fullmatch(key):
        remedy = "use up to 100 letters, digits, '_', '-', '.' or ':', a letter, digit or '_' first"
        raise wrong(f"{key!r} cannot be the key of a form", remedy)


def check_predicate(predicate: Any) -> None:
    """Refuse what cannot say whether a workflow may start."""
    if predicate is not None and (isinstance(predicate, (type, Step, StepList)) or not callable(predicate)):
        remedy = "give a function of PredicateContext that returns RunPredicatePass() or RunPredicateFail(message)"
        raise wrong(f"run_predicate={_shown(predicate)} is no function", remedy)


def check_assignee(assignee: Any) -> None:
    """Refuse what names nobody."""
    value = assignee.value if isinstance(assignee, Enum) else assignee
    if not isinstance(value, str) or not value.strip() or not _can_be_stored(value):
        raise wrong(f"assignee={assignee!r} names nobody", "give a text or an Enum of texts")


def check_function(function: Any, use: str) -> None:
    """Refuse what cannot be the function of a step, and warn of parameters that are never filled."""
    check_callable(function, use)
    if isinstance(function, type):
        raise wrong(f"{use} was given the class {describe(function)}", "decorate a function")
    target = written(function)
    location = location_of(function)
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        raise wrong(f"{describe(function)} yields", "return a dict, or use @inputstep if it is a form", location)
    if has_variadics(function):
        message = f"{describe(function)}: *args and **kwargs of a step are never filled; name the keys it needs"
        warnings.warn_explicit(message, UserWarning, location.file, location.line)


def check_workflow_function(function: Any) -> None:
    """Refuse what cannot return the steps of a workflow."""
    check_callable(function, "@workflow(...)")
    location = location_of(function)
    if isinstance(function, type) or not hasattr(function, "__name__"):
        raise wrong(f"@workflow(...) was given {describe(function)}", "decorate a function with a name", location)
    if inspect.iscoroutinefunction(function):
        raise wrong(f"workflow {function.__name__!r} is async", "make it a plain function that returns steps", location)
    wanted = [p.name for p in inspect.signature(function).parameters.values() if must_be_given(p)]
    if wanted:
        problem = f"workflow {function.__name__!r} takes {', '.join(wanted)}"
        raise wrong(problem, "take nothing: steps get their values from State", location)


def must_be_given(parameter: inspect.Parameter) -> bool:
    """Whether a function cannot be called without this one."""
    variadic = parameter.kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    return parameter.default is inspect.Parameter.empty and not variadic


def _shown(value: Any) -> str:
    function: Callable[..., Any] | None = value if callable(value) and not isinstance(value, Step) else None
    shown = repr(value)
    return shown if function is None and " at 0x" not in shown else describe(value)
