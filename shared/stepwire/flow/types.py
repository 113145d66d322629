"""State and the kinds of nodes a workflow is made of."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

State = dict[str, Any]
"""What a process knows: JSON values by name."""


class NodeKind(StrEnum):
    """What a node of a workflow is; those in `ENGINE_KINDS` are performed by the coordinator."""

    START = "start"
    STEP = "step"
    RETRYSTEP = "retrystep"
    INPUT = "input"
    CALLBACK = "callback"
    GROUP = "group"
    RELATE = "relate"
    LOCK = "lock"
    UNLOCK = "unlock"
    ACQUIRE = "acquire"
    RELEASE = "release"
    DONE = "done"
    ABORT = "abort"

    @property
    def is_engine(self) -> bool:
        """Whether the coordinator performs nodes of this kind itself."""
        return self in ENGINE_KINDS


ENGINE_KINDS = frozenset(
    {
        NodeKind.START,
        NodeKind.RELATE,
        NodeKind.LOCK,
        NodeKind.UNLOCK,
        NodeKind.ACQUIRE,
        NodeKind.RELEASE,
        NodeKind.DONE,
        NodeKind.ABORT,
    },
)
