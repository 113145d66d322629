"""What tests give to an engine, looked at where they give it: later nobody could tell what was meant."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from stepwire.flow.locations import describe
from stepwire.flow.registry import Registry
from stepwire.flow.workflows import Workflow
from stepwire.testing.errors import Misuse

MOST_SECONDS = 1e10
"""Some three hundred years; not much later the calendar ends."""


def one_workflow(value: Any) -> Workflow:
    """The value, if it is a workflow.

    Raises:
        Misuse: it is none, as all functions here where they are given something else.
    """
    if isinstance(value, Workflow):
        Registry([value])
        return value
    raise Misuse(f"{describe(value)} is no workflow: decorate a function that returns steps with @workflow(...)")


def workflows_of(values: Any) -> list[Workflow]:
    """Several workflows."""
    if isinstance(values, Workflow) or not isinstance(values, Iterable):
        raise Misuse(f"{values!r} is no list of workflows: write InMemory([my_workflow])")
    return [one_workflow(value) for value in values]


def ids_of(values: Any) -> list[UUID]:
    """The ids of subscriptions, also as the texts that State has for them."""
    if isinstance(values, (str, UUID)) or not isinstance(values, Iterable):
        raise Misuse(f"subscriptions={values!r} is no list: write subscriptions=[subscription_id]")
    try:
        return [UUID(str(value)) for value in values]
    except ValueError as error:
        raise Misuse(f"subscriptions has what is no id of one: give UUIDs ({error})") from error


def moment(value: Any) -> datetime:
    """A point in time."""
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise Misuse(f"now={value!r} is no time with a zone: give one, as datetime(2026, 1, 31, tzinfo=UTC)")
    return value


def seconds(value: Any) -> float:
    """A number of seconds."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= MOST_SECONDS:
        raise Misuse(f"time cannot be skipped by {value!r} seconds: give a number of at least 0, and not without end")
    return float(value)


def exception(value: Any) -> BaseException:
    """What a step is to raise: an exception, or the class of one that can be made of nothing."""
    if isinstance(value, BaseException):
        return value
    if not isinstance(value, type) or not issubclass(value, BaseException):
        raise Misuse(f"a step cannot raise {value!r}: give an exception, as ConnectionError()")
    try:
        return value()
    except TypeError as error:
        raise Misuse(f"{value.__name__} has to be told something: give {value.__name__}(...) itself") from error
