"""A process as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from stepwire.flow.manifest import Manifest


class Status(StrEnum):
    """Where a process stands, in the words its operators use."""

    CREATED = "created"
    RUNNING = "running"
    SUSPENDED = "suspended"
    WAITING = "waiting"
    AWAITING_CALLBACK = "awaiting_callback"
    FAILED = "failed"
    API_UNAVAILABLE = "api_unavailable"
    INCONSISTENT_DATA = "inconsistent_data"
    ABORTED = "aborted"
    COMPLETED = "completed"
    REJECTED = "rejected"


FINISHED = frozenset({Status.ABORTED, Status.COMPLETED, Status.REJECTED})
RETRYABLE = frozenset(
    {Status.FAILED, Status.WAITING, Status.API_UNAVAILABLE, Status.INCONSISTENT_DATA},
)
START_CHECK = "0"


@dataclass(frozen=True)
class Process:
    """One execution of a workflow.

    `node` is the position: the node to be executed next, being executed, or waited in (an
    awaited callback step 4 stands at 4.2, its validation). `runnable` says that a run of
    `epoch` is dispatched or under way. `granted` says that the lock node at the position has
    its lock. `held_locks` are keys of subscriptions' locks, and named locks with the node that took
    them. `failure` identifies the last failure, so that identical ones are counted.
    """

    id: UUID
    workflow: str
    manifest: Manifest
    status: Status = Status.CREATED
    node: str = "1"
    attempt: int = 1
    epoch: int = 0
    runnable: bool = False
    granted: bool = False
    alone: bool = False
    lost: int = 0
    queue: str = "default"
    log_seq: int = 0
    state_bytes: int = 0
    is_task: bool = False
    command_id: str | None = None
    pending_command: str | None = None
    subscription_id: UUID | None = None
    held_locks: tuple[str, ...] = ()
    deadline: datetime | None = None
    failure: str | None = None
    last_step: str | None = None
    assignee: str | None = None
    failed_reason: str | None = None
    traceback: str | None = None
    form: dict[str, Any] | None = None
    waiting_on: dict[str, Any] | None = None
    progress: Any = None
    reporter: str | None = None
    labels: dict[str, str] | None = None
    on_conflict: str = "reject"
    priority: int = 0

    @property
    def command_to_check(self) -> str | None:
        """The command whose pages a run has to check; of a start that stood in line, though it is answered."""
        return self.pending_command or (self.command_id if self.node == START_CHECK else None)

    @property
    def finished(self) -> bool:
        """Whether nothing will ever happen to this process again."""
        return self.status in FINISHED

    @property
    def asking(self) -> bool:
        """Whether an executor is just asked whether this process may be retried."""
        return self.runnable and self.status in RETRYABLE


def process_of(values: Mapping[str, Any]) -> Process:
    """The process with these values, one for each field: its constructor takes three times as long."""
    process = object.__new__(Process)
    vars(process).update(values)
    return process


def copy_of(process: Process) -> Process:
    """A process of its own with the same values."""
    return process_of(vars(process))


def subscription_lock(subscription_id: UUID) -> str:
    """Key of the insync lock of a subscription."""
    return f"subscription:{subscription_id}"


def subscription_of(values: dict[str, Any]) -> UUID | None:
    """The subscription that State, a page or arguments name; None where it is no UUID."""
    try:
        return UUID(str(values.get("subscription_id")))
    except ValueError:
        return None


def order_of(node: str, attempt: int) -> tuple[int, int, tuple[int, ...]]:
    """Sorts positions: a top-level node, its attempts, the sub-nodes within an attempt."""
    top, *rest = numbers_of(node)
    return top, attempt, tuple(rest)


def numbers_of(node: str) -> tuple[int, ...]:
    """A node path as its numbers, which sort as positions do: `4.2` is (4, 2)."""
    return tuple(map(int, node.split(".")))


def parent_of(node: str) -> str:
    """The node a sub-node belongs to: `4` of `4.2`, empty for a top-level node."""
    return node.rpartition(".")[0]


def top_of(node: str) -> str:
    """The top-level node a position belongs to: `4` of `4.2`."""
    return node.partition(".")[0]
