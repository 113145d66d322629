"""Policies of automatic retries."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwire import GiveUp, Retry, RetryLater
from stepwire.flow.errors import DefinitionError

RNG = random.Random(1)  # noqa: S311 - spreads retries, hides nothing


def test_pauses_grow_up_to_the_maximum() -> None:
    """Each pause is `factor` times the one before, and none is longer than the maximum."""
    policy = Retry(delay_seconds=1, factor=3, max_delay_seconds=20, jitter=0)
    assert [round(policy.delay_seconds_for(n), 9) for n in (1, 2, 3, 4, 100_000)] == [1, 3, 9, 20, 20]


def test_the_default_is_a_minute_doubling_to_an_hour() -> None:
    """What CONTRACT promises of a retrystep without a policy."""
    policy = Retry(jitter=0)
    assert policy.delay_seconds_for(1) == 60
    assert policy.delay_seconds_for(2) == pytest.approx(120)
    assert policy.delay_seconds_for(9) == 3600
    assert policy.times is None


@given(
    delay=st.floats(0, 1e6),
    factor=st.floats(1, 1e6),
    limit=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
    attempt=st.integers(1, 10**9),
)
def test_a_pause_is_always_within_its_bounds(
    delay: float, factor: float, limit: float, jitter: float, attempt: int
) -> None:
    """Whatever the policy and the attempt: no overflow, never below zero, never above the maximum."""
    policy = Retry(delay_seconds=delay, factor=factor, max_delay_seconds=limit, jitter=jitter)
    assert 0 <= policy.delay_seconds_for(attempt, RNG) <= limit


def test_jitter_spreads_the_pauses() -> None:
    """Processes that failed together do not come back together."""
    policy = Retry(delay_seconds=100, jitter=0.2)
    pauses = {policy.delay_seconds_for(1, RNG) for _ in range(50)}
    assert len(pauses) > 40
    assert 80 <= min(pauses) < max(pauses) <= 120


def test_the_number_of_retries_is_limited() -> None:
    """`times` retries follow the first attempt."""
    policy = Retry(times=2)
    assert [policy.wants(ValueError(), attempt) for attempt in (1, 2, 3)] == [True, True, False]
    assert not Retry(times=0).wants(ValueError(), 1)


def test_only_the_exceptions_named_are_retried() -> None:
    """`on` and `give_up_on` name classes, or their dotted names; subclasses belong to them."""
    policy = Retry(on=(OSError,), give_up_on=("FileNotFoundError",))
    assert policy.wants(TimeoutError(), 1)
    assert not policy.wants(ValueError(), 1)
    assert not policy.wants(FileNotFoundError(), 1)
    assert Retry(on=LookupError).wants(KeyError(), 1)  # type: ignore[arg-type]


def test_the_exception_itself_may_decide() -> None:
    """GiveUp is never retried, RetryLater is, within the limit."""
    assert not Retry().wants(GiveUp("no use"), 1)
    assert Retry(on=(OSError,)).wants(RetryLater(3), 1)
    assert not Retry(times=1).wants(RetryLater(3), 2)


@pytest.mark.parametrize(
    "arguments",
    [
        {"delay_seconds": -1},
        {"delay_seconds": "1"},
        {"delay_seconds": float("nan")},
        {"factor": 0.5},
        {"max_delay_seconds": float("inf")},
        {"jitter": 1.5},
        {"times": -1},
        {"times": 1.5},
        {"times": True},
        {"on": (3,)},
        {"give_up_on": (dict,)},
    ],
)
def test_a_policy_that_cannot_work_is_a_definition_error(arguments: dict[str, Any]) -> None:
    """The error names the author's line."""
    with pytest.raises(DefinitionError) as caught:
        Retry(**arguments)
    assert caught.value.file == __file__


def test_a_policy_survives_json() -> None:
    """Classes become names, and the names decide alike."""
    policy = Retry(delay_seconds=1, times=3, on=(OSError, "requests.Timeout"), give_up_on=(RetryLater,))
    read = Retry.from_json(policy.to_json())
    assert read.to_json() == policy.to_json()
    assert read.on == ("OSError", "requests.Timeout")
    assert read.wants(TimeoutError(), 1)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "soon"])
def test_retry_later_takes_seconds(seconds: Any) -> None:
    """A pause that is none is told where it is raised."""
    with pytest.raises(ValueError, match=r"RetryLater|could not convert"):
        RetryLater(seconds)
