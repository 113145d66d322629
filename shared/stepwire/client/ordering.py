"""The order of the events of one process, whatever their way brought about."""

from __future__ import annotations

from collections.abc import Iterator

from stepwire.contracts.events import COMMAND_ACCEPTED, CloudEvent, process_event
from stepwire.process.model import FINISHED

ENDS = frozenset(process_event(status) for status in FINISHED)
"""Types of the events that end a process."""


class Order:
    """Puts events that came repeatedly or out of order into their order; `first` None: from whatever comes first."""

    def __init__(self, first: int | None) -> None:
        self._expected = first
        self._early: dict[int, CloudEvent] = {}

    def next(self, event: CloudEvent) -> Iterator[CloudEvent]:
        """The events that are due now that `event` has come."""
        if event.sequence is None:
            if event.type == COMMAND_ACCEPTED and self._expected == 1:
                # The first event comes right behind its start, unless that was accepted long ago, and is told again.
                self._expected = None
            return
        if self._expected is None:
            self._expected = event.sequence
        if event.sequence >= self._expected:
            self._early[event.sequence] = event
        while (due := self._early.pop(self._expected, None)) is not None:
            self._expected += 1
            yield due
