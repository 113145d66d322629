"""The page about errors: the exceptions, and the codes of refusals and dead letters."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping

import stepwire
import stepwire_executor
from reference.markdown import code, first_sentence, table
from stepwire.contracts.reasons import DeadLetter, Reason
from stepwire.flow.errors import StepwireError
from stepwire_gateway.problems import STATUS_OF_REASON

_INTRODUCTION = """# Errors

All exceptions have one root, `stepwire.flow.errors.StepwireError`. What you raise yourself in a step
(`RetryLater`, `GiveUp`, `ApiUnavailable`, `InconsistentData`) is imported from `stepwire`.

"""

_REASONS = """
## Why a command is refused

The code is `reason` in the event `stepwire.command.rejected`, in the body of an HTTP problem, and in the client's
`Refused`. Codes that begin with `subscription.` tell which rule about subscriptions stands in the way.

"""

_DEAD_LETTERS = """
## Why a record became a dead letter

The word is in the header `x-error` of the record in `<topic>.dlq`.

"""

MEANING_OF_REASON: Mapping[str, str] = {
    Reason.MALFORMED: "The command cannot be understood; `detail` says which field.",
    Reason.UNKNOWN_TYPE: "There is no command of this type.",
    Reason.COMMAND_ID_REUSED: "Another command was sent under this `command_id`. Choose another id.",
    Reason.PROCESS_EXISTS: "The `process_id` the command asks for is taken.",
    Reason.UNKNOWN_WORKFLOW: "No executor has ever offered a workflow of this name.",
    Reason.INVALID_INPUT: "The pages do not fit the form; `errors` says where.",
    Reason.NOT_ALLOWED: "The workflow's or the step's authorisation said no.",
    Reason.PREDICATE_FAILED: "The workflow's `run_predicate` said no; `detail` is its message.",
    Reason.ENGINE_PAUSED: "The engine is paused. Send it later, or with `hold: true`.",
    Reason.SUBSCRIPTION_LOCKED: "Another process works on the subscription; `holder` is its id.",
    Reason.NOT_IN_SYNC: "The subscription is out of sync and no process holds it: validate it or set it in sync.",
    Reason.WRONG_STATUS: "The process is not in a status where this can be done.",
    Reason.UNKNOWN_PROCESS: "There is no such process.",
    Reason.STALE_VERSION: "The subscription has changed since the form was filled in.",
    Reason.TOO_LARGE: "State would be larger than `STEPWIRE_STATE_MAX_BYTES`, or the body than its limit.",
    Reason.NO_EXECUTOR: "No executor that lives serves this workflow.",
}

MEANING_OF_DEAD_LETTER: Mapping[str, str] = {
    DeadLetter.MALFORMED: "The record cannot be understood.",
    DeadLetter.UNKNOWN_TYPE: "There is no record of this type on this topic.",
    DeadLetter.WRONG_TOKEN: "The token of a callback was not made by this engine for this process.",
    DeadLetter.AWAIT_OVER: "Nobody waits for the callback any more.",
    DeadLetter.DIFFERENT_BODY: "Another answer was accepted for the callback before.",
    DeadLetter.UNKNOWN_PROCESS: "There is no such process.",
    DeadLetter.TOO_LARGE: "The record is larger than its limit.",
    DeadLetter.NOT_APPLICABLE: "The result fits no position of its process; the process fails with the reason.",
}


def page() -> str:
    """All errors, from the tree of exceptions and the enumerations of codes."""
    exceptions = table(("Exception", "Module", "When"), _exceptions())
    reasons = table(("Code", "HTTP", "Meaning"), _reasons())
    dead = table(("Word", "Meaning"), ((code(word), MEANING_OF_DEAD_LETTER.get(word, "")) for word in DeadLetter))
    return f"{_INTRODUCTION}## Exceptions\n\n{exceptions}{_REASONS}{reasons}{_DEAD_LETTERS}{dead}"


def all_errors() -> list[type[StepwireError]]:
    """Every exception of the library and of the room where authors' code runs."""
    for package in (stepwire, stepwire_executor):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            importlib.import_module(module.name)
    return sorted(_below(StepwireError), key=lambda error: (error.__module__, error.__name__))


def _below(parent: type[StepwireError]) -> Iterator[type[StepwireError]]:
    for child in parent.__subclasses__():
        if child.__module__.partition(".")[0] in {"stepwire", "stepwire_executor"}:
            yield child
        yield from _below(child)


def _exceptions() -> Iterator[tuple[str, str, str]]:
    for error in all_errors():
        yield code(error.__name__), code(error.__module__), first_sentence(error.__doc__)


def _reasons() -> Iterator[tuple[str, str, str]]:
    for reason in Reason:
        yield code(reason), str(STATUS_OF_REASON.get(reason, 409)), MEANING_OF_REASON.get(reason, "")
