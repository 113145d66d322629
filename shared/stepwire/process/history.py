"""State as the log of a process tells it."""

from __future__ import annotations

from stepwire.flow.errors import UnknownNode
from stepwire.flow.manifest import Manifest
from stepwire.flow.serialization import Delta, fold
from stepwire.flow.types import State
from stepwire.process.model import numbers_of, top_of
from stepwire.process.walk import begun_again

Numbers = tuple[int, ...]


class History:
    """Folds the rows of a log in their order; a new attempt begins with State as it was before what it does again.

    `state` is State so far. Without a manifest nobody knows which groups go on with what failed: then every attempt
    does the whole top-level node again.
    """

    def __init__(self, manifest: Manifest | None, state: State | None = None) -> None:
        """Begin with `state`, which no later attempt takes back."""
        self.state: State = {} if state is None else state
        self._manifest = manifest
        self._node = ""
        self._attempt = 0
        self._before: list[tuple[Numbers, State]] = []

    def add(self, node: str, attempt: int, delta: Delta) -> None:
        """Take the next row."""
        self.stand_at(node, attempt)
        if not delta.empty:
            self._before.append((numbers_of(node), self.state))
            self.state = fold(self.state, delta)

    def stand_at(self, node: str, attempt: int) -> None:
        """The process has got to `node` in `attempt`: what earlier attempts did of what is done again is undone."""
        if top_of(node) != top_of(self._node):
            self._before = []
        elif attempt > self._attempt:
            # The first word of an attempt may be about a whole group, which was skipped: what the attempt has begun
            # again is then known by what failed before.
            within = f"{self._node}.".startswith(f"{node}.")
            self._undo(numbers_of(self._begun_again(self._node if within else node)))
        self._node, self._attempt = node, attempt

    def _undo(self, begin: Numbers) -> None:
        for at, (numbers, state) in enumerate(self._before):
            if numbers >= begin:
                self.state = state
                del self._before[at:]
                return

    def _begun_again(self, node: str) -> str:
        if self._manifest is None:
            return top_of(node)
        try:
            return begun_again(self._manifest, node).path
        except UnknownNode:
            return top_of(node)
