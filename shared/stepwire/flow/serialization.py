"""Values of State as JSON: what may be stored, and how one State follows from another.

`dump` is strict where orjson is lenient: NaN and infinity (which orjson writes as null), text with NUL (which jsonb
refuses) and unknown types are errors that name the key, so that a bad value fails its step and nothing else.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import PurePath
from typing import Any
from uuid import UUID

import orjson
from pydantic import AnyUrl, BaseModel, MongoDsn, NatsDsn, PostgresDsn, TypeAdapter
from pydantic_core import MultiHostUrl, Url

from stepwire.flow.errors import SerializationError
from stepwire.flow.types import State

MAX_DEPTH = 150
"""How deep values may be nested: readers of records stop at 200, and a value is nested in State and in records."""

_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1
_TEXTS = (
    *(UUID, Decimal, PurePath),
    # Most kinds of addresses are AnyUrls; those of several hosts have no class in common that is public.
    *(AnyUrl, PostgresDsn, MongoDsn, NatsDsn, Url, MultiHostUrl),
    *(IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network),
)
_TIMEDELTA = TypeAdapter(timedelta)
# Dataclasses: orjson leaves out fields that begin with an underscore. Moments: orjson 3.13 writes the time
# 00:00:00.010000 as 00:00:00.10000, ten times as much.
_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
# orjson itself stops here: what is put into so many lists may be MAX_DEPTH deep, at no cost.
_ORJSON_DEPTH = 254
_AROUND = _ORJSON_DEPTH - MAX_DEPTH
_Plain = str | int | float | bool | list[Any] | dict[Any, Any] | None


def dump(value: Any, path: str = "state") -> bytes:
    """Return `value` as JSON text.

    Raises:
        SerializationError: a part of it cannot be stored; the message begins with its place, as in `state['a'][3]`.
    """
    try:
        data = orjson.dumps(_in_lists(value), default=_simplify, option=_OPTIONS)[_AROUND:-_AROUND]
    except TypeError:
        return orjson.dumps(to_json_value(value, path))
    # orjson writes NaN as null and NUL as an escape: only where one of them may be is the value itself walked.
    if b"null" in data or b"\\u0000" in data:
        return orjson.dumps(to_json_value(value, path))
    return data


def too_deep(value: Any) -> bool:
    """Whether a JSON value is nested deeper than MAX_DEPTH."""
    try:
        orjson.dumps(_in_lists(value))
    except TypeError:
        return True
    return False


def _in_lists(value: Any) -> Any:
    for _ in range(_AROUND):
        value = [value]
    return value


def load(data: bytes | str) -> Any:
    """Return the value that `dump` wrote."""
    return orjson.loads(data)


def copy_json(value: Any) -> Any:
    """Return an independent copy of a JSON value."""
    if type(value) in _IMMUTABLE:
        return value
    return orjson.loads(orjson.dumps(value, default=_simplify))


_IMMUTABLE = frozenset({str, int, float, bool, type(None)})


def to_json_value(value: Any, path: str = "state") -> Any:
    """Return `value` as the JSON value that a later step will see.

    Raises:
        SerializationError: as `dump`.
    """
    return _walk(value, path, 0)


def _walk(value: Any, path: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise SerializationError(path, f"is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Enum):
        return _walk(value.value, path, depth + 1)
    if isinstance(value, dict):
        return {_key(key, path): _walk(item, _below(path, key), depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_walk(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
    for kind, check in _SCALARS:
        if isinstance(value, kind):
            return check(value, path)
    return _walk(_plain(value, path), path, depth + 1)


def _below(path: str, key: Any) -> str:
    return f"{path}[{key!r}]"


def _key(key: Any, path: str) -> str:
    if isinstance(key, Enum):
        key = key.value
    if not isinstance(key, str):
        raise SerializationError(_below(path, key), f"has a key of type {type(key).__qualname__}: keys must be text")
    return _text(key, f"{_below(path, key)} (the key)")


def _text(value: str, path: str) -> str:
    if "\0" in value:
        raise SerializationError(path, "contains a NUL character, which the database cannot store")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SerializationError(path, "contains a lone surrogate, which is not valid text") from None
    return str.__str__(value)


def _integer(value: int, path: str) -> int:
    if not _INT_MIN <= value <= _INT_MAX:
        raise SerializationError(path, "is an integer beyond 64 bits: store it as text")
    return int(value)


def _number(value: float, path: str) -> float:
    if not math.isfinite(value):
        raise SerializationError(path, f"is {value!r}, which JSON cannot hold: store None or text instead")
    return float(value)


def _same(value: Any, _path: str) -> Any:
    return value


_SCALARS: tuple[tuple[type, Callable[[Any, str], Any]], ...] = (
    (str, _text),
    (bool, _same),
    (type(None), _same),
    (int, _integer),
    (float, _number),
)


def _plain(value: Any, path: str) -> _Plain:
    """Return one level of a value that is not JSON itself; unlike `_simplify`, say where it is when it cannot."""
    try:
        return _simplify(value)
    except TypeError as exc:
        raise SerializationError(path, str(exc)) from None


def _simplify(value: Any) -> _Plain:
    """Return one level of a value that orjson does not know; a TypeError says why it cannot be stored."""
    for kinds, convert in _CONVERSIONS:
        if isinstance(value, kinds):
            plain: _Plain = convert(value)
            return plain
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return _by_protocol(value)


def _moment(value: date | time) -> str:
    if isinstance(value, time) and value.tzinfo is not None and value.utcoffset() is None:
        message = "is a time whose zone has no offset without a date: store a datetime instead"
        raise TypeError(message)
    return value.isoformat()


def _by_protocol(value: Any) -> _Plain:
    if isinstance(value, Mapping):
        return dict(value)
    if not isinstance(value, type):
        for name in ("__json__", "to_dict"):
            method = getattr(value, name, None)
            if callable(method):
                result: _Plain = method()
                return result
    message = f"is a {type(value).__qualname__}, which cannot be stored as JSON: return plain data instead"
    raise TypeError(message)


def _ordered(members: Iterable[Any]) -> list[Any]:
    # The order of a set differs from run to run; sorted, a repeated step returns the same result.
    try:
        return sorted(members)
    except TypeError:
        return sorted(members, key=repr)


def _duration(value: timedelta) -> str:
    return str(_TIMEDELTA.dump_python(value, mode="json"))


_CONVERSIONS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
    (BaseModel, lambda model: model.model_dump()),
    (_TEXTS, str),
    ((date, time), _moment),
    (timedelta, _duration),
    ((set, frozenset), _ordered),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Delta:
    """What one step changed: keys set to new values, keys removed."""

    set: dict[str, Any] = dataclasses.field(default_factory=dict)
    removed: list[str] = dataclasses.field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether nothing changed."""
        return not self.set and not self.removed

    def then(self, later: Delta) -> Delta:
        """Return what both change, one after the other."""
        removed = [key for key in self.removed if key not in later.set]
        kept = {key: value for key, value in self.set.items() if key not in later.removed}
        return Delta({**kept, **later.set}, list(dict.fromkeys([*removed, *later.removed])))

    def to_json(self) -> dict[str, Any]:
        """Return the delta as a JSON object."""
        return {"set": self.set, "removed": self.removed}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Delta:
        """Return the delta that `to_json` wrote; absent members are empty."""
        return cls(dict(value.get("set") or {}), list(value.get("removed") or []))


def fold(state: State, delta: Delta) -> State:
    """Return State after `delta`; `state` itself stays as it is."""
    folded = {**state, **delta.set}
    for key in delta.removed:
        folded.pop(key, None)
    return folded


def changes(state: State, returned: State) -> Delta:
    """Return what merging `returned` over `state` changes; values that are the same already are left out."""
    return Delta({k: v for k, v in returned.items() if k not in state or not same(state[k], v)})


def diff(old: State, new: State) -> Delta:
    """Return the delta that leads from `old` to `new`."""
    return Delta(changes(old, new).set, [key for key in old if key not in new])


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are written alike; unlike `==`, 1 is neither 1.0 nor True."""
    if type(one) is not type(other):
        return False
    if type(one) in _EQUAL_IF_TYPED:
        return bool(one == other)
    return orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(other, option=orjson.OPT_SORT_KEYS)


_EQUAL_IF_TYPED = frozenset({str, int, bool, type(None)})


def deep_merge(base: State, over: Mapping[str, Any]) -> State:
    """Return `base` with `over` laid on it: objects are merged key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = deep_merge(below, value)
        else:
            merged[key] = value
    return merged
