"""What may be stored in State, and what is refused with the key that is to blame."""

from __future__ import annotations

import enum
import json
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AmqpDsn, BaseModel, HttpUrl, NatsDsn, PostgresDsn, SecretStr
from pydantic_core import from_json

from stepwire.flow.binding import Binder
from stepwire.flow.errors import SerializationError
from stepwire.flow.serialization import (
    MAX_DEPTH,
    Delta,
    changes,
    copy_json,
    deep_merge,
    diff,
    dump,
    fold,
    load,
    same,
    to_json_value,
)

TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
STATE = st.dictionaries(TEXT, JSON, max_size=6)


class Colour(enum.StrEnum):
    """An enum of texts."""

    RED = "red"


class Number(enum.Enum):
    """An enum of numbers."""

    ONE = 1


@dataclass
class Port:
    """A dataclass, with a private field."""

    name: str
    speed: Decimal
    _note: str | None = None


class Node(BaseModel):
    """A model that holds another kind of object."""

    id: UUID
    ports: list[Port]


class Unwrapped:
    """An object that says itself what it is as JSON."""

    def __json__(self) -> Any:
        return {"inner": {1}}


class Legacy:
    """An object with the older spelling."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as a dict."""
        return {"legacy": True}


Pair = namedtuple("Pair", "a b")  # noqa: PYI024 - the untyped kind is the one orjson does not know
ID = UUID("11111111-2222-3333-4444-555555555555")

CONVERTED: list[tuple[Any, Any]] = [
    (ID, str(ID)),
    (Decimal("1.50"), "1.50"),
    (ip_address("10.0.0.1"), "10.0.0.1"),
    (ip_network("2001:db8::/32"), "2001:db8::/32"),
    (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "2026-01-02T03:04:05.000006+00:00"),
    (date(2026, 1, 2), "2026-01-02"),
    (HttpUrl("https://example.net/a"), "https://example.net/a"),
    (AmqpDsn("amqp://example.net"), "amqp://example.net"),
    (PostgresDsn("postgresql://one,two/base"), "postgresql://one,two/base"),
    (NatsDsn("nats://one:4222,two:4222"), "nats://one:4222,two:4222"),
    (time(3, 4), "03:04:00"),
    (time(microsecond=10_000), "00:00:00.010000"),
    (datetime(2026, 7, 2, 3, tzinfo=ZoneInfo("Europe/Amsterdam")), "2026-07-02T03:00:00+02:00"),
    (timedelta(hours=1), "PT1H"),
    (Colour.RED, "red"),
    (Number.ONE, 1),
    (PurePosixPath("/tmp/x"), "/tmp/x"),  # noqa: S108 - only a path to write down
    ({3, 1, 2}, [1, 2, 3]),
    (frozenset({"b", "a"}), ["a", "b"]),
    ((1, (2,)), [1, [2]]),
    (Pair(1, 2), [1, 2]),
    ({Colour.RED: 1}, {"red": 1}),
    (OrderedDict(a=1), {"a": 1}),
    (MappingProxyType({"a": {1}}), {"a": [1]}),
    (Port("x", Decimal(10), "n"), {"name": "x", "speed": "10", "_note": "n"}),
    (
        Node(id=ID, ports=[Port("x", Decimal(1))]),
        {"id": str(ID), "ports": [{"name": "x", "speed": "1", "_note": None}]},
    ),
    (Unwrapped(), {"inner": [1]}),
    (Legacy(), {"legacy": True}),
    (None, None),
    ("\\u0000 written out", "\\u0000 written out"),
    ("null", "null"),
    (-(2**63), -(2**63)),
]


@pytest.mark.parametrize(("value", "expected"), CONVERTED, ids=lambda v: type(v).__name__)
def test_what_authors_return_becomes_json(value: Any, expected: Any) -> None:
    """Both ways of dumping agree, on the value alone and beside something that needs the slow way."""
    assert load(dump(value)) == expected
    assert to_json_value(value) == expected
    assert load(dump({"beside": None, "value": [value]})) == {"beside": None, "value": [expected]}


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _cycle() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


class _Endless:
    def __json__(self) -> Any:
        return _Endless()


REFUSED: dict[str, tuple[Any, str]] = {
    "nan": ({"a": [1, {"b": float("nan")}]}, "state['a'][1]['b']: is nan"),
    "infinity": ({"a": float("inf")}, "state['a']: is inf"),
    "nan in a model": ({"a": Port("x", Decimal(1), float("nan"))}, "state['a']['_note']: is nan"),  # type: ignore[arg-type]
    "nul three levels deep": ({"a": [{"b": "x\0y"}]}, "state['a'][0]['b']: contains a NUL"),
    "nul in a key": ({"a": {"x\0": 1}}, "the key): contains a NUL"),
    "nul beside a null": ({"n": None, "a": "\0"}, "state['a']: contains a NUL"),
    "lone surrogate": ({"a": "\ud800"}, "state['a']: contains a lone surrogate"),
    "lone surrogate in a key": ({"\ud800": 1}, "contains a lone surrogate"),
    "numbers as keys": ({"a": {1: 2}}, "state['a'][1]: has a key of type int"),
    "none as key": ({None: 2}, "has a key of type NoneType"),
    "an enum of numbers as key": ({Number.ONE: 2}, "has a key of type int"),
    "66 bits": ({"a": 2**66}, "state['a']: is an integer beyond 64 bits"),
    "lambda": ({"a": {"f": lambda: 1}}, "state['a']['f']: is a function"),
    "bytes": ({"a": b"x"}, "state['a']: is a bytes"),
    "object": ({"a": [object()]}, "state['a'][0]: is a object"),
    "a class": ({"a": Port}, "state['a']: is a type"),
    "a secret": ({"a": SecretStr("x")}, "state['a']: is a SecretStr"),
    "too deep": (_nested(300), "nested more than"),
    "cycle": ({"a": _cycle()}, "nested more than"),
    "endless conversion": (_Endless(), "nested more than"),
    "a time with a zone": ({"a": time(3, tzinfo=ZoneInfo("Europe/Amsterdam"))}, "state['a']: "),
    "complex": ({"a": 1j}, "state['a']: is a complex"),
}


@pytest.mark.parametrize(("value", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_stored_names_its_place(value: Any, message: str) -> None:
    """The error begins with the place and says what is wrong with it."""
    for attempt in (dump, to_json_value):
        with pytest.raises(SerializationError) as caught:
            attempt(value)
        assert message in str(caught.value)
        assert str(caught.value).startswith(caught.value.path)


def test_the_deepest_value_allowed_can_still_be_carried_in_a_record() -> None:
    """Nesting stops early enough for State to be put into records around it, by both ways of dumping."""
    for value in (to_json_value(_nested(MAX_DEPTH)), load(dump(_nested(MAX_DEPTH)))):
        record = {"data": {"state": {"key": {"set": value}}}}
        assert from_json(orjson.dumps(record)) == record
    for attempt in (dump, to_json_value):
        with pytest.raises(SerializationError, match="nested more than"):
            attempt(_nested(MAX_DEPTH + 1))


@given(JSON)
def test_json_survives_unchanged(value: Any) -> None:
    """What is JSON already comes back as it was, by both ways, and is text other readers understand."""
    assert same(load(dump(value)), value)
    assert same(to_json_value(value), value)
    assert same(copy_json(value), value)
    assert json.loads(dump(value)) == value


TYPED: dict[Any, st.SearchStrategy[Any]] = {
    UUID: st.uuids(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    datetime: st.datetimes(timezones=st.just(UTC)) | st.datetimes(),
    date: st.dates(),
    time: st.times(),
    timedelta: st.timedeltas(timedelta(days=-10_000), timedelta(days=10_000)),
    IPv4Address | IPv6Address: st.ip_addresses(),
    Colour: st.sampled_from(Colour),
    Number: st.sampled_from(Number),
    set[int]: st.sets(st.integers(-(2**63), 2**63)),
    Port: st.builds(Port, name=TEXT, speed=st.decimals(allow_nan=False, allow_infinity=False), _note=st.none() | TEXT),
    list[Node]: st.lists(st.builds(Node, id=st.uuids(), ports=st.just([Port("x", Decimal(1))])), max_size=3),
    dict[str, UUID | None]: st.dictionaries(TEXT, st.none() | st.uuids(), max_size=3),
}


@pytest.mark.parametrize("annotation", TYPED, ids=str)
@given(data=st.data())
def test_what_one_step_returns_the_next_receives(annotation: Any, data: st.DataObject) -> None:
    """A value that is dumped, loaded and bound to a parameter of its type is the value it was."""

    def following(value: Any) -> Any:
        return value

    following.__annotations__["value"] = annotation
    value = data.draw(TYPED[annotation])
    _, named = Binder(following).bind(load(dump({"value": value})))
    assert named["value"] == value


@given(STATE, STATE)
def test_the_difference_leads_from_one_state_to_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Folding a difference gives the new State, and survives JSON itself."""
    delta = diff(old, new)
    assert same(fold(old, delta), new)
    assert Delta.from_json(load(dump(delta.to_json()))) == delta
    assert diff(new, new).empty


@given(STATE, STATE)
def test_what_a_step_returned_is_laid_over_state(old: dict[str, Any], returned: dict[str, Any]) -> None:
    """Leaving out what was the same already changes nothing."""
    delta = changes(old, returned)
    assert same(fold(old, delta), {**old, **returned})
    assert not delta.removed
    assert all(key not in old or not same(old[key], value) for key, value in delta.set.items())


@given(STATE, STATE)
def test_input_is_merged_deeply(base: dict[str, Any], over: dict[str, Any]) -> None:
    """Every leaf of the input is there afterwards, and merging twice changes nothing more."""
    merged = deep_merge(base, over)
    assert same(deep_merge(merged, over), merged)
    assert set(merged) == {*base, *over}


def test_objects_are_merged_and_lists_replaced() -> None:
    """The rule in one example; the base is left alone."""
    base = {"a": {"x": 1, "y": {"p": 1}}, "b": [1, 2], "c": 1}
    over = {"a": {"y": {"q": 2}}, "b": [3], "c": {"d": 1}}
    assert deep_merge(base, over) == {"a": {"x": 1, "y": {"p": 1, "q": 2}}, "b": [3], "c": {"d": 1}}
    assert base["a"] == {"x": 1, "y": {"p": 1}}


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), (0, False), (0.0, -0.0), ([1], [True]), (None, 0)])
def test_values_that_are_written_differently_differ(one: Any, other: Any) -> None:
    """Python calls some of these equal; a change from one to the other must not get lost."""
    assert not same(one, other)
    assert changes({"a": one}, {"a": other}).set == {"a": other}


def test_the_order_of_keys_is_no_change() -> None:
    """Objects are compared by content."""
    assert same({"a": 1, "b": 2}, {"b": 2, "a": 1})


def test_a_set_of_things_without_an_order_is_still_stored_the_same_each_time() -> None:
    """Members that cannot be compared are ordered by how they print."""
    assert load(dump({1, "a"})) == ["a", 1]


def test_copies_are_independent() -> None:
    """Changing a copy leaves the original alone."""
    value = {"a": [1, {"b": 2}]}
    copy = copy_json(value)
    copy["a"][1]["b"] = 3
    assert value == {"a": [1, {"b": 2}]}


DUMPERS: list[Callable[[Any], Any]] = [dump, to_json_value]


@pytest.mark.parametrize("dumper", DUMPERS)
def test_an_error_of_the_authors_own_conversion_is_passed_on(dumper: Callable[[Any], Any]) -> None:
    """What `__json__` raises is the author's, not ours."""

    class Broken:
        def __json__(self) -> Any:
            message = "mine"
            raise KeyError(message)

    with pytest.raises((KeyError, SerializationError), match="mine"):
        dumper({"a": Broken()})
