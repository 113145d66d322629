"""What can happen to a process besides commands and results, which are records of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from stepwire.flow.sizes import STATE_MAX_BYTES


@dataclass(frozen=True, slots=True)
class CallbackArrived:
    """An accepted callback, taken from the inbox; `state_max_bytes` is how large State may become by it."""

    node: str
    attempt: int
    payload: dict[str, Any]
    body_hash: bytes
    source: str | None = None
    payload_bytes: int = 0
    state_max_bytes: int = STATE_MAX_BYTES


@dataclass(frozen=True, slots=True)
class CallbackProgressed:
    """News about an awaited callback."""

    node: str
    attempt: int
    progress: Any


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer of this process came due in `epoch`."""

    kind: str
    epoch: int


@dataclass(frozen=True, slots=True)
class ClaimLost:
    """The executor that had claimed `epoch` will not report any more."""

    epoch: int
    executor: str


@dataclass(frozen=True, slots=True)
class CodeGone:
    """No executor has had code that fits this process for long, while others run its workflow; `message` says why."""

    epoch: int
    message: str


@dataclass(frozen=True, slots=True)
class LockDecided:
    """The database's answer to a lock wish.

    done: taken or freed; held: `holder` has it; queued: the same, and the process stands in line now;
    not_in_sync: nobody has it but the subscription is out of sync; unknown: there is no such subscription;
    busy: its row is held, try again; cycle: `holder` waits, over the locks and owners of `cycle`, for this process.
    """

    outcome: Literal["done", "held", "queued", "not_in_sync", "unknown", "busy", "cycle"]
    holder: UUID | None = None
    key: str = ""
    cycle: tuple[tuple[str, UUID], ...] = ()


@dataclass(frozen=True, slots=True)
class LockReleased:
    """Somebody took the lock `key` from this process by hand."""

    key: str
    by: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Unusable:
    """Something for this position can never be applied, and `message` says why.

    It came for `node`, `attempt` and `epoch`; without a node it is about the process as it stands.
    """

    message: str
    node: str = ""
    attempt: int = 1
    epoch: int = 0
    executor: str | None = None
