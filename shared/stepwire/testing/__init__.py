"""Workflows in memory: run one to its end in a unit test, with the engine's own rules and a clock that can be skipped.

    result = run_workflow(provision_port, {"site": "ams"})
    assert_awaiting_callback(result)
    post_callback(result, {"serial": "X1"})
    assert_complete(result)
    assert_state(result, serial="X1")

Nothing else is needed: neither PostgreSQL nor Kafka, and no service. What becomes of a process is decided by the same
`advance`, and a step is executed by the same runner, as in production.
"""

from stepwire.testing.assertions import (
    assert_aborted,
    assert_awaiting_callback,
    assert_complete,
    assert_failed,
    assert_state,
    assert_status,
    assert_suspended,
    assert_waiting,
)
from stepwire.testing.engine import InMemory
from stepwire.testing.errors import Misuse, Refused
from stepwire.testing.records import Logged, Record
from stepwire.testing.results import (
    Result,
    abort_workflow,
    extract_error,
    extract_state,
    fail_step,
    post_callback,
    post_progress,
    resume_workflow,
    run_workflow,
    skip_step,
    skip_time,
)
from stepwire.testing.run_forms import FormRun, run_form

__all__ = [
    "FormRun",
    "InMemory",
    "Logged",
    "Misuse",
    "Record",
    "Refused",
    "Result",
    "abort_workflow",
    "assert_aborted",
    "assert_awaiting_callback",
    "assert_complete",
    "assert_failed",
    "assert_state",
    "assert_status",
    "assert_suspended",
    "assert_waiting",
    "extract_error",
    "extract_state",
    "fail_step",
    "post_callback",
    "post_progress",
    "resume_workflow",
    "run_form",
    "run_workflow",
    "skip_step",
    "skip_time",
]
