"""Filling the parameters of an author's function from State, by name, converted by annotation.

All that can be known from the signature is worked out once per function; binding itself is a dictionary lookup and,
where the value is not of the annotated type yet, one call into pydantic.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any

from pydantic import (
    PydanticSchemaGenerationError,
    PydanticUndefinedAnnotation,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
)

from stepwire.flow.errors import BindingError, DefinitionError
from stepwire.flow.locations import describe, location_of, written
from stepwire.flow.serialization import copy_json
from stepwire.flow.types import State

if sys.version_info >= (3, 14):
    import annotationlib

LOADER = "__load_from_state__"
"""A class with a classmethod of this name, `(cls, value, variants)`, makes its own instances from a value of State;
`variants` are the classes the annotation allows (one, or the members of a union). It may return an awaitable where
the function is async."""

STATE_PARAMETER = "state"
"""A parameter of this name receives a copy of the whole State."""

_EXACT = (str, int, float, bool)
_VARIADIC = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
_EMPTY = inspect.Parameter.empty

Convert = Callable[[Any], Any]


class Slot(typing.NamedTuple):
    """How one parameter is filled; `convert` None: with the whole State."""

    name: str
    convert: Convert | None
    default: Any
    positional_only: bool
    type_name: str


class Binder:
    """Fills the parameters of one function."""

    __slots__ = ("_where", "awaits", "function", "slots")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._where = describe(written(function))
        parameters = [p for p in _signature(function).parameters.values() if p.kind not in _VARIADIC]
        hints = _hints(function, parameters)
        self.slots = tuple(_slot(p, hints[p.name], function) for p in parameters)
        self.awaits = any(_loaded_types(hint) for hint in hints.values())

    def bind(self, state: State) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and the keyword arguments for one call.

        Raises:
            BindingError: a key is missing, or its value does not fit the annotation.
        """
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for slot in self.slots:
            if slot.convert is None:
                value = copy_json(state)
            elif slot.name in state:
                value = self._convert(slot, state[slot.name])
            elif slot.default is _EMPTY:
                raise self._missing(slot)
            else:
                value = slot.default
            if slot.positional_only:
                positional.append(value)
            else:
                named[slot.name] = value
        return positional, named

    def _convert(self, slot: Slot, value: Any) -> Any:
        if value is None and slot.default is None:
            return None
        try:
            return slot.convert(value) if slot.convert is not None else value
        except ValidationError as exc:
            raise BindingError(self._unfit(slot, exc)) from None

    def _unfit(self, slot: Slot, exc: ValidationError) -> str:
        first = exc.errors(include_url=False, include_input=False)[0]
        place = "".join(f"[{part!r}]" for part in (slot.name, *first["loc"]))
        return f"state{place} does not fit {slot.type_name} in {self._where}: {first['msg']}"

    def _missing(self, slot: Slot) -> BindingError:
        message = (
            f"State has no key {slot.name!r}, which {self._where} needs: set it in an earlier step or give a default"
        )
        return BindingError(message)


_MADE: dict[int, Binder] = {}


def binder_for(function: Callable[..., Any]) -> Binder:
    """Return the binder of `function`, made once.

    Raises:
        DefinitionError: a parameter has an annotation that no JSON value can be converted to.
    """
    # By identity: objects that can be called may be equal without being the same, or have no hash at all.
    made = _MADE.get(id(function))
    if made is None:
        made = _MADE[id(function)] = Binder(function)
    return made


def has_variadics(function: Callable[..., Any]) -> bool:
    """Whether the function takes *args or **kwargs, which State cannot fill."""
    return any(p.kind in _VARIADIC for p in _signature(function).parameters.values())


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        if sys.version_info >= (3, 14):
            # There annotations are evaluated late, and those of type checkers only would raise here.
            return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
        return inspect.signature(function)
    except (ValueError, TypeError):
        problem = f"{describe(function)} has no signature that can be read"
        raise DefinitionError(problem, "wrap it in a function of your own", location_of(function)) from None


def _slot(parameter: inspect.Parameter, hint: Any, function: Callable[..., Any]) -> Slot:
    whole = parameter.name == STATE_PARAMETER
    return Slot(
        name=parameter.name,
        convert=None if whole else _converter(parameter.name, hint, function),
        default=_default(parameter, hint),
        positional_only=parameter.kind is inspect.Parameter.POSITIONAL_ONLY,
        type_name=hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", ""),
    )


def _default(parameter: inspect.Parameter, hint: Any) -> Any:
    # Of `Model | None` an absent key means None; of other types it is more likely a mistake.
    if parameter.default is _EMPTY and _loaded_types(hint) and NoneType in typing.get_args(hint):
        return None
    return parameter.default


def _hints(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> dict[str, Any]:
    return {p.name: _hint(function, p) for p in parameters}


def _hint(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Evaluate one annotation; each by itself, because those of `state` and of the result may be unreadable."""
    annotation = parameter.annotation
    if annotation is _EMPTY or parameter.name == STATE_PARAMETER:
        return Any
    holder = type("Holder", (), {"__annotations__": {parameter.name: annotation}})
    try:
        names = getattr(written(function), "__globals__", {})
        return typing.get_type_hints(holder, globalns=names, include_extras=True)[parameter.name]
    except (NameError, AttributeError, SyntaxError, TypeError):
        problem = f"the annotation {annotation!r} of parameter {parameter.name!r} of {describe(function)} is unknown"
        remedy = "import its names at module level, outside `if TYPE_CHECKING`"
        raise DefinitionError(problem, remedy, location_of(function)) from None


def _converter(name: str, hint: Any, function: Callable[..., Any]) -> Convert:
    if hint is Any or hint is object:
        return copy_json
    loaded = _loaded_types(hint)
    if loaded:
        return _loading(hint, loaded)
    validate = _validator(name, hint, function)
    if hint in _EXACT:
        return _exact(hint, validate)
    # Copied first: pydantic hands on the insides of dict[str, Any] as they are.
    return lambda value: validate(copy_json(value))


def _exact(kind: type, validate: Convert) -> Convert:
    def convert(value: Any) -> Any:
        return value if type(value) is kind else validate(value)

    return convert


def _validator(name: str, hint: Any, function: Callable[..., Any]) -> Convert:
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint)
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError):
        problem = f"parameter {name!r} of {describe(function)} is annotated {hint!r}, which no JSON value converts to"
        remedy = f"annotate a pydantic model, a dataclass or a plain type, or give the class a {LOADER} classmethod"
        raise DefinitionError(problem, remedy, location_of(function)) from None
    validate = adapter.validator.validate_python
    return lambda value: validate(value, by_alias=True, by_name=True)


def _loaded_types(hint: Any) -> tuple[type, ...]:
    """Return the classes with a loader in `T`, `T | None`, `T | U`, `list[T]` or `Annotated[T, ...]`."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated or origin is list:
        return _loaded_types(typing.get_args(hint)[0])
    if origin in {typing.Union, UnionType}:
        members = [_loaded_types(m) for m in typing.get_args(hint) if m is not NoneType]
        return tuple(cls for member in members for cls in member) if all(members) else ()
    return (hint,) if isinstance(hint, type) and hasattr(hint, LOADER) else ()


def _loading(hint: Any, variants: tuple[type, ...]) -> Convert:
    if typing.get_origin(hint) is typing.Annotated:
        return _loading(typing.get_args(hint)[0], variants)
    load = getattr(variants[0], LOADER)

    def one(value: Any) -> Any:
        return None if value is None else load(copy_json(value), variants)

    if _is_list(hint):
        return lambda value: None if value is None else [one(item) for item in value]
    return one


def _is_list(hint: Any) -> bool:
    members = typing.get_args(hint) if typing.get_origin(hint) in {typing.Union, UnionType} else (hint,)
    return any(typing.get_origin(member) is list for member in members)
