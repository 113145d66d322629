"""`advance(process, event, now) -> Decision`: everything that must be right about the engine."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from stepwire.contracts.commands import AbortProcess, AddNote, ResumeProcess, SkipStep
from stepwire.contracts.steps import EngineNodeReached, RunEnded, StepProgressed, StepReported
from stepwire.process.decision import Decision
from stepwire.process.draft import Draft
from stepwire.process.happenings import (
    CallbackArrived,
    CallbackProgressed,
    ClaimLost,
    CodeGone,
    LockDecided,
    LockReleased,
    TimerFired,
    Unusable,
)
from stepwire.process.model import Process
from stepwire.process.orders import abort, add_note, resume, skip
from stepwire.process.results import result_arrived
from stepwire.process.waits import (
    callback_arrived,
    callback_progressed,
    claim_lost,
    code_gone,
    lock_decided,
    lock_released,
    timer_fired,
    unusable,
)

Event = (
    ResumeProcess
    | AbortProcess
    | SkipStep
    | AddNote
    | StepReported
    | EngineNodeReached
    | RunEnded
    | StepProgressed
    | Unusable
    | CallbackArrived
    | CallbackProgressed
    | TimerFired
    | ClaimLost
    | CodeGone
    | LockDecided
    | LockReleased
)

RULES: dict[type, Callable[[Process, Any, Draft], Decision]] = {
    ResumeProcess: resume,
    AbortProcess: abort,
    SkipStep: skip,
    AddNote: add_note,
    StepReported: result_arrived,
    EngineNodeReached: result_arrived,
    RunEnded: result_arrived,
    StepProgressed: result_arrived,
    Unusable: unusable,
    CallbackArrived: callback_arrived,
    CallbackProgressed: callback_progressed,
    TimerFired: timer_fired,
    ClaimLost: claim_lost,
    CodeGone: code_gone,
    LockDecided: lock_decided,
    LockReleased: lock_released,
}

# Ties within one batch are decided by kind, whatever the offsets.
PRECEDENCE: tuple[type, ...] = (
    AbortProcess,
    StepReported,
    EngineNodeReached,
    RunEnded,
    StepProgressed,
    Unusable,
    CallbackArrived,
    CallbackProgressed,
    ResumeProcess,
    SkipStep,
    AddNote,
    ClaimLost,
    CodeGone,
    LockReleased,
    LockDecided,
    TimerFired,
)


def advance(process: Process, event: Event, now: datetime) -> Decision:
    """What `event` makes of `process` at `now` (database time).

    Pure: no clock, no I/O. The process given is not changed; an event that does not apply
    gives a decision whose `dropped` says why.
    """
    return RULES[type(event)](process, event, Draft(process, now))
