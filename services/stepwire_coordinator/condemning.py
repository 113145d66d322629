"""The one record that can never be applied: its sender is told, or its process fails with the reason."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.exc import DBAPIError

from stepwire.contracts.commands import RefusedCommand
from stepwire.contracts.reasons import DeadLetter, Reason
from stepwire.process.happenings import Unusable
from stepwire_coordinator.publication import Publication
from stepwire_coordinator.work import CommandItem, Origin, RefusedItem, ResultItem, Work

LONGEST_REASON = 500


def condemned(work: Work, error: Exception) -> tuple[Work, Publication]:
    """What is to be applied in place of `work`, which is a single piece, and what is to be published."""
    message = f"it cannot be applied: {reason_of(error)}"
    instead = Work(positions=work.positions)
    instead.refused = [_refuse(item, message) for item in work.commands]
    instead.results = [_unusable(item, message) for item in work.results if not _is_condemned(item)]
    instead.results += [ResultItem(found, Unusable(message), None) for found in _concerned(work)]
    return instead, Publication(dead=[(origin, DeadLetter.NOT_APPLICABLE) for origin in _hopeless(work)])


def _refuse(item: CommandItem, message: str) -> RefusedItem:
    command = item.command
    refused = RefusedCommand(command.command_id, Reason.MALFORMED, message, reply_to=command.reply_to)
    return RefusedItem(refused, item.origin, condemned=True)


def _is_condemned(item: ResultItem) -> bool:
    return isinstance(item.result, Unusable)


def _unusable(item: ResultItem, message: str) -> ResultItem:
    result = item.result
    unusable = Unusable(message, result.node, result.attempt, result.epoch, getattr(result, "executor", None))
    return ResultItem(item.process_id, unusable, item.origin, item.kept)


def _concerned(work: Work) -> set[UUID]:
    """Processes whose timer, lost claim, callback in the inbox or record set aside cannot be applied."""
    timed = {process_id for process_id, _ in (*work.timers, *work.lost, *work.gaps, *work.gone)}
    return timed | work.inbox | work.caught_up


def _hopeless(work: Work) -> list[Origin]:
    """Records for which nothing can be done but to keep them for an operator."""
    refused = [item.origin for item in work.refused]
    results = [item.origin for item in work.results if _is_condemned(item)]
    callbacks = [item.origin for item in work.callbacks]
    return [origin for origin in (*refused, *results, *callbacks) if origin is not None]


def reason_of(error: Exception) -> str:
    """What went wrong in one line, fit to be stored and shown: without the statement and its parameters."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    told = str(cause).partition("\n")[0].rpartition("'>: ")[2]
    return f"{type(cause).__name__}: {told}"[:LONGEST_REASON].replace("\x00", "?")
