"""The trace context of records."""

from __future__ import annotations

from uuid import UUID

import pytest

from stepwire.contracts.commands import StartProcess, content_hash
from stepwire.contracts.tracing import derived_traceparent, legible_traceparent, trace_headers, traceparent_in

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PROCESS = UUID("0b1e4f2a-6a3c-5f0e-9d57-7f6a1a2b3c4d")


@pytest.mark.parametrize(
    "value",
    [
        GIVEN.upper(),
        GIVEN.replace("00-", "ff-", 1),
        GIVEN[:-1],
        GIVEN + "\n",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        b"\xff\xfe",
        None,
        7,
    ],
)
def test_what_is_no_traceparent_is_ignored(value: object) -> None:
    """A sender's mistake in a header costs it the trace, not the command."""
    assert legible_traceparent(value) is None
    assert StartProcess.model_validate({"command_id": "x", "workflow": "w", "traceparent": value}).traceparent is None


def test_the_header_is_found_among_others() -> None:
    """Kafka's headers are a list, and values bytes."""
    assert traceparent_in([("other", b"x"), ("traceparent", GIVEN.encode())]) == GIVEN
    assert traceparent_in([("traceparent", b"nonsense")]) is None
    assert traceparent_in([]) is None


def test_a_process_that_came_without_is_its_own_trace() -> None:
    """Whoever publishes a record of it derives the same."""
    derived = derived_traceparent(PROCESS)
    assert derived == "00-0b1e4f2a6a3c5f0e9d577f6a1a2b3c4d-9d577f6a1a2b3c4d-00"
    assert derived_traceparent(str(PROCESS)) == derived
    assert derived_traceparent(PROCESS, sampled=True) == derived[:-2] + "01"
    assert trace_headers(None, PROCESS) == (("traceparent", derived.encode()),)
    assert trace_headers(GIVEN, PROCESS) == (("traceparent", GIVEN.encode()),)


@pytest.mark.parametrize("subject", [UUID(int=0), UUID(int=1 << 127), "order-4711", ""])
def test_what_is_derived_is_always_legible(subject: UUID | str) -> None:
    """Ids of zeros are forbidden, and not everything that records are about is a process."""
    assert legible_traceparent(derived_traceparent(subject))


def test_a_command_sent_again_in_another_trace_is_the_same() -> None:
    """The retry of a request is a span of its own."""
    first = StartProcess(command_id="x", workflow="w", traceparent=GIVEN)
    assert content_hash(first) == content_hash(first.model_copy(update={"traceparent": None}))
