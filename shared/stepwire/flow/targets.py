"""What a workflow is for."""

from __future__ import annotations

from enum import StrEnum


class Target(StrEnum):
    """What a workflow does to a subscription."""

    CREATE = "CREATE"
    MODIFY = "MODIFY"
    TERMINATE = "TERMINATE"
    SYSTEM = "SYSTEM"
    VALIDATE = "VALIDATE"
    RECONCILE = "RECONCILE"

    @property
    def is_task(self) -> bool:
        """Whether processes of this target are tasks: deletable, cleaned up, and run on subscriptions out of sync."""
        return self in {Target.SYSTEM, Target.VALIDATE}
