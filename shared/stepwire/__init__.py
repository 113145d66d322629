"""Stepwire: durable workflows for subscriptions and network services.

These are the names an author of workflows needs. `FormPage` and `set_status` are imported when first used, so that
`from stepwire import step, workflow` stays fast and needs neither a database nor Kafka.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from stepwire.flow.context import current
from stepwire.flow.errors import ApiUnavailable, GiveUp, InconsistentData, RetryLater
from stepwire.flow.free_forms import register_form
from stepwire.flow.lists import Step, StepList
from stepwire.flow.locks import with_lock
from stepwire.flow.predicates import PredicateContext, RunPredicateFail, RunPredicatePass, no_uncompleted_instance
from stepwire.flow.retry import Retry
from stepwire.flow.steps import (
    abort,
    begin,
    callback_step,
    conditional,
    done,
    focussteps,
    init,
    inputstep,
    lock_subscription,
    lock_subscription_unchecked,
    relate_subscription,
    retrystep,
    step,
    step_group,
    steplens,
    unlock_subscription,
)
from stepwire.flow.targets import Target
from stepwire.flow.types import State
from stepwire.flow.workflows import Workflow, workflow

if TYPE_CHECKING:
    from pydantic_forms.core import FormPage

    from stepwire.domain.steps import set_status

_LAZY = {"FormPage": "pydantic_forms.core", "set_status": "stepwire.domain.steps"}

__all__ = [
    "ApiUnavailable",
    "FormPage",
    "GiveUp",
    "InconsistentData",
    "PredicateContext",
    "Retry",
    "RetryLater",
    "RunPredicateFail",
    "RunPredicatePass",
    "State",
    "Step",
    "StepList",
    "Target",
    "Workflow",
    "abort",
    "begin",
    "callback_step",
    "conditional",
    "current",
    "done",
    "focussteps",
    "init",
    "inputstep",
    "lock_subscription",
    "lock_subscription_unchecked",
    "no_uncompleted_instance",
    "register_form",
    "relate_subscription",
    "retrystep",
    "set_status",
    "step",
    "step_group",
    "steplens",
    "unlock_subscription",
    "with_lock",
    "workflow",
]


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
