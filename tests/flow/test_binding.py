"""Filling parameters from State."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, Self
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field

from stepwire import State
from stepwire.flow.binding import Binder, binder_for
from stepwire.flow.errors import BindingError, DefinitionError

if TYPE_CHECKING:
    from decimal import Decimal

ID = UUID("11111111-2222-3333-4444-555555555555")


class Colour(enum.Enum):
    """A choice."""

    RED = "red"


@dataclass
class Port:
    """A dataclass of the author's."""

    name: str
    speed: int = 10


class Node(BaseModel):
    """A strict model with an alias, as authors write them."""

    model_config = ConfigDict(extra="forbid")

    node_name: str = Field(alias="nodeName")
    ports: list[Port] = []


class Loaded:
    """A class that loads its instances itself, as domain models do."""

    def __init__(self, value: Any, variants: tuple[type, ...]) -> None:
        self.value, self.variants = value, variants

    @classmethod
    def __load_from_state__(cls, value: Any, variants: tuple[type, ...]) -> Self:
        return cls(value, variants)


class LoadedToo(Loaded):
    """Another variant."""


class Opaque:
    """A class nobody can make from JSON."""


def bound(function: Callable[..., Any], state: State) -> Any:
    """Return what `function` returns when it is bound to `state`."""
    positional, named = binder_for(function).bind(state)
    return function(*positional, **named)


def same_value(annotation: Any, value: Any) -> Any:
    """Return `value` as a parameter of this annotation receives it."""

    def function(x: Any) -> Any:
        return x

    function.__annotations__["x"] = annotation
    return bound(function, {"x": value})


CONVERSIONS: list[tuple[Any, Any, Any]] = [
    (UUID, str(ID), ID),
    (list[UUID], [str(ID)], [ID]),
    (UUID | None, None, None),
    (Optional[UUID], str(ID), ID),  # noqa: UP045 - authors write both
    (datetime, "2026-01-02T03:04:05+00:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    (date, "2026-01-02", date(2026, 1, 2)),
    (Colour, "red", Colour.RED),
    (IPv4Address, "10.0.0.1", IPv4Address("10.0.0.1")),
    (IPv4Address | IPv6Address, "::1", IPv6Address("::1")),
    (int, "3", 3),
    (int, 3.0, 3),
    (float, 3, 3.0),
    (bool, True, True),
    (str, "a", "a"),
    (str | int, 3, 3),
    (Literal["a"], "a", "a"),
    (Annotated[int, Field(gt=1)], 2, 2),
    (Port, {"name": "x"}, Port("x")),
    (list[Port], [{"name": "x", "speed": "3"}], [Port("x", 3)]),
    (Node, {"nodeName": "a", "ports": [{"name": "x"}]}, Node(nodeName="a", ports=[Port("x")])),
    (Node, {"node_name": "a"}, Node(nodeName="a")),
    (dict[str, int], {"a": "1"}, {"a": 1}),
    (tuple[int, str], [1, "a"], (1, "a")),
    (set[int], [1, 1], {1}),
    (Any, {"a": 1}, {"a": 1}),
    ("UUID", str(ID), ID),
]


@pytest.mark.parametrize(("annotation", "value", "expected"), CONVERSIONS, ids=str)
def test_values_become_what_is_annotated(annotation: Any, value: Any, expected: Any) -> None:
    """A value of State is converted to the annotated type."""
    converted = same_value(annotation, value)
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (UUID, "no"),
        (UUID, None),
        (int, "x"),
        (int, 1.5),
        (str, 3),
        (bool, "perhaps"),
        (date, "2026-02-30"),
        (Colour, "green"),
        (Port, {}),
        (list[UUID], [str(ID), "no"]),
        (Annotated[int, Field(gt=1)], 1),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_key_and_function(annotation: Any, value: Any) -> None:
    """The message names the place in State, the type and the function."""
    with pytest.raises(BindingError, match=r"^state\['x'\].* does not fit .* in .*function: "):
        same_value(annotation, value)


def test_a_missing_key_is_told_with_key_and_function() -> None:
    """No default, no key: the step cannot run."""

    def reserve(prefix: str) -> None: ...

    with pytest.raises(BindingError, match=r"no key 'prefix', which .*reserve needs"):
        bound(reserve, {})


def test_every_kind_of_parameter_is_filled() -> None:
    """Positional-only, ordinary and keyword-only parameters, with and without defaults, and `state` anywhere."""

    def function(a: int, b: int = 2, /, c: int = 3, *, d: int, e: int = 5, state: State) -> Any:
        return (a, b, c, d, e, state)

    assert bound(function, {"a": 1, "d": 4}) == (1, 2, 3, 4, 5, {"a": 1, "d": 4})
    whole = {"a": 1, "b": 0, "c": 0, "d": 4, "e": 0}
    assert bound(function, whole) == (1, 0, 0, 4, 0, whole)


def test_variadic_parameters_get_nothing() -> None:
    """*args and **kwargs stay empty, even where State has keys of these names."""

    def function(x: int, *args: Any, **kwargs: Any) -> Any:
        return (x, args, kwargs)

    assert bound(function, {"x": 1, "args": [1], "kwargs": {"a": 1}}) == (1, (), {})


def test_changes_in_place_have_no_effect() -> None:
    """Lists, dicts and `state` are copies, however deep they are changed."""

    def function(state: State, things: list[Any], table: dict[str, Any], anything) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - authors leave annotations out
        state["things"].append(1)
        things[0]["x"] = 1
        table["a"]["b"] = 1
        anything.append(1)

    state: State = {"things": [{}], "table": {"a": {}}, "anything": [0]}
    bound(function, state)
    assert state == {"things": [{}], "table": {"a": {}}, "anything": [0]}


def test_none_is_taken_where_none_is_the_default() -> None:
    """`x: int = None` is common in authors' code, and the value was once its default."""

    def function(x: int = None) -> Any:  # type: ignore[assignment]  # noqa: RUF013
        return x

    assert bound(function, {"x": None}) is None
    assert bound(function, {}) is None


def test_optional_without_default_needs_its_key() -> None:
    """A misspelt key must not silently become None."""

    def function(x: int | None) -> Any:
        return x

    with pytest.raises(BindingError, match="'x'"):
        bound(function, {})


def test_annotations_that_nobody_converts_are_definition_errors() -> None:
    """The author is told the parameter, the line, and what can be done."""

    def function(x: Opaque) -> None: ...

    with pytest.raises(DefinitionError, match=r"parameter 'x' of .*function") as caught:
        binder_for(function)
    assert (caught.value.file, caught.value.line) == (__file__, function.__code__.co_firstlineno)
    assert "__load_from_state__" in caught.value.remedy


def test_names_imported_for_type_checkers_only_are_definition_errors() -> None:
    """Silently not converting would hand a text to a function that wants a Decimal."""

    def function(x: Decimal) -> None: ...

    with pytest.raises(DefinitionError, match="'Decimal' of parameter 'x'") as caught:
        binder_for(function)
    assert "TYPE_CHECKING" in caught.value.remedy


def test_unreadable_annotations_of_state_and_result_do_no_harm() -> None:
    """Only what is converted is read."""

    def function(state: Decimal) -> Decimal:
        return state

    assert bound(function, {"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    ("annotation", "variants"),
    [
        (Loaded, (Loaded,)),
        (Loaded | None, (Loaded,)),
        (Loaded | LoadedToo, (Loaded, LoadedToo)),
        (Annotated[Loaded, 1], (Loaded,)),
    ],
    ids=str,
)
def test_classes_may_load_themselves(annotation: Any, variants: tuple[type, ...]) -> None:
    """Such a class gets the value of State and the classes the annotation allows."""
    made = same_value(annotation, {"id": 3})
    assert (made.value, made.variants) == ({"id": 3}, variants)


def test_lists_of_such_classes_are_loaded_one_by_one() -> None:
    """Each item is loaded."""
    assert [made.value for made in same_value(list[Loaded], [1, 2])] == [1, 2]
    assert same_value(list[Loaded] | None, None) is None


def test_an_optional_model_may_be_absent() -> None:
    """`Model | None` without a key is None."""

    def function(model: Loaded | None) -> Any:
        return model

    assert bound(function, {}) is None
    assert bound(function, {"model": None}) is None
    assert Binder(function).awaits


@dataclass
class Maker:
    """Called like a function; objects of it may be equal, and have no hash."""

    port: str

    def __call__(self, x: UUID) -> tuple[str, UUID]:
        """Give back what it was given."""
        return self.port, x


def paired(port: str, x: UUID) -> tuple[str, UUID]:
    """Do the same, called as a function."""
    return port, x


@pytest.mark.parametrize(
    "made", [Maker("a"), partial(paired, "a"), Maker("a").__call__], ids=["object", "partial", "method"]
)
def test_annotations_are_read_where_the_function_beneath_was_written(made: Any) -> None:
    """As text they mean nothing elsewhere."""
    assert bound(made, {"x": str(ID)}) == ("a", ID)


def test_what_cannot_be_filled_is_told_of_the_function_beneath() -> None:
    """By its own name and line: there is nobody's line in the library that wraps it."""

    def function(port: str, x: Opaque) -> None: ...

    with pytest.raises(DefinitionError, match="parameter 'x'") as caught:
        binder_for(partial(function, "a"))
    assert (caught.value.file, caught.value.line) == (__file__, function.__code__.co_firstlineno)
    with pytest.raises(BindingError, match=r"test_binding\.paired"):
        bound(partial(paired, "a"), {})


def test_equal_objects_are_different_functions() -> None:
    """Each is called itself, also where it has no hash."""
    one, other = Maker("a"), Maker("a")
    assert (binder_for(one).function, binder_for(other).function) == (one, other)
    assert binder_for(one).function is not binder_for(other).function


def test_binders_are_made_once() -> None:
    """What is known from the signature is worked out once."""

    def function(x: int) -> int:
        return x

    assert binder_for(function) is binder_for(function)


def test_something_without_a_signature_is_a_definition_error() -> None:
    """Some builtins do not tell their parameters."""
    with pytest.raises(DefinitionError, match="no signature"):
        binder_for(iter)
