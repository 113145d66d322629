"""The public face: what authors import, and what that costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import stepwire
from stepwire.flow import errors

NAMES = """
ApiUnavailable FormPage GiveUp InconsistentData PredicateContext Retry RetryLater RunPredicateFail RunPredicatePass
State Step StepList Target Workflow abort begin callback_step conditional current done focussteps init inputstep
lock_subscription lock_subscription_unchecked no_uncompleted_instance register_form relate_subscription retrystep
set_status step step_group steplens unlock_subscription with_lock workflow
"""


def test_the_public_names_are_these() -> None:
    """A name that is added, renamed or removed is a decision."""
    assert stepwire.__all__ == sorted(NAMES.split())
    assert dir(stepwire) == stepwire.__all__


def test_every_name_can_be_had() -> None:
    """Lazy ones too; what is not there is told as by any module."""
    for name in set(stepwire.__all__) - {"set_status"}:
        assert getattr(stepwire, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = stepwire.nothing


def test_importing_the_language_stays_light() -> None:
    """Neither database nor Kafka, web framework nor pydantic-forms is loaded by it."""
    heavy = {"sqlalchemy", "psycopg", "asyncpg", "aiokafka", "faststream", "fastapi", "starlette", "pydantic_forms"}
    program = (
        "import sys; from stepwire import step, workflow, inputstep; import stepwire.flow.runner;"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True, timeout=60)
    assert not heavy & set(done.stdout.split())


def test_all_errors_have_one_root() -> None:
    """`except StepwireError` catches whatever Stepwire raises on purpose."""
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(classes) > 10
    assert all(issubclass(cls, errors.StepwireError) and cls.__doc__ for cls in classes)
    assert "commit()" in str(errors.CommitRefused("Save"))
