"""Records as they leave, and the size of what they carry."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwire.chassis.database import Clock
from stepwire.chassis.metrics import Metrics
from stepwire.contracts.steps import EngineNodeReached, RunEnded, StepProgressed, StepReported, decode_result
from stepwire.data.claims import Claimed
from stepwire.flow.outcomes import StepError, StepOutcome
from stepwire.flow.registry import Registry
from stepwire.flow.serialization import Delta, fold
from stepwire.flow.sizes import size_after
from stepwire_executor.plans import WorkflowPlan
from stepwire_executor.reports import Reports, encode
from stepwire_executor.runs import Run, make_run
from tests.executor.harness import FLOWS

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
STATES = st.dictionaries(st.text(max_size=3), VALUES, max_size=5)


@pytest.fixture
def run() -> Run:
    """A run at its second node."""
    plan = WorkflowPlan(Registry.discover([FLOWS])["five_steps"], Metrics())
    claim = Claimed(
        process_id=uuid4(),
        epoch=7,
        workflow="five_steps",
        node="2",
        attempt=1,
        queue="default",
        granted=False,
        alone=False,
        prefix="",
        reporter=None,
        subscription_id=None,
        secret_id=None,
        callback_key=None,
        traceparent=None,
        status="running",
        snapshot=b'{"a": 1}',
        body=None,
        outcomes=[],
    )
    return make_run(claim, plan, None)


def decoded(report: dict[str, Any]) -> Any:
    """Read a record as the coordinator does."""
    return decode_result(encode(report))


def test_every_record_is_what_the_contract_says(run: Run) -> None:
    """They are made as plain dicts: the models must find everything in them."""
    reports, now = Reports(str(uuid4()), Clock().now), datetime.now(UTC)
    error = StepError("ValueError", "bad", {"a": 1}, "Traceback ...")
    failed = StepOutcome("waiting", error=error, retry_after_seconds=2.5, process_status="api_unavailable")
    done = decoded(reports.step(run, "2", StepOutcome("success", Delta({"a": 2}, ["b"])), 11, now, created_by="jane"))
    waits = decoded(reports.step(run, "2", failed, 8, now))
    suspends = decoded(reports.step(run, "3", StepOutcome("suspend", form={"x": 1}, assignee="NOC"), 8, now))
    assert isinstance(done, StepReported)
    assert (done.delta.set, done.delta.removed, done.state_bytes, done.created_by) == ({"a": 2}, ["b"], 11, "jane")
    assert (done.started_at, done.epoch, done.process_id) == (now, 7, run.process_id)
    assert (waits.error.message, waits.retry_after_seconds, waits.process_status) == ("bad", 2.5, "api_unavailable")
    assert (suspends.form, suspends.assignee) == ({"x": 1}, "NOC")
    assert isinstance(decoded(reports.engine_node(run, "4", condition=False)), EngineNodeReached)
    assert isinstance(decoded(reports.ended(run, "budget")), RunEnded)
    assert isinstance(decoded(reports.progress(run, "2", 1, {"percent": 5})), StepProgressed)


def test_ids_of_records_are_uuids_and_never_the_same(run: Run) -> None:
    """They are counted behind a random half."""
    reports = Reports(str(uuid4()), Clock().now)
    ids = {decoded(reports.ended(run, "budget")).id for _ in range(1000)}
    assert len(ids) == 1000
    assert all(isinstance(one, UUID) and one.version == 4 for one in ids)


@given(state=STATES, over=STATES, removed=st.lists(st.text(max_size=3), max_size=3, unique=True))
def test_the_size_counted_along_is_the_size_of_state(
    state: dict[str, Any], over: dict[str, Any], removed: list[str]
) -> None:
    """Never less than State has as JSON, and at most off by escapes and the last comma."""
    delta = Delta(over, [key for key in removed if key not in over])
    counted = size_after(state, len(orjson.dumps(state)), delta)
    real = len(orjson.dumps(fold(state, delta)))
    keys = len(state) + len(over)
    assert abs(counted - real) <= 1 + keys * 20
