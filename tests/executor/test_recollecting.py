"""What a run reads of the log before it begins, from a database that may be away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from stepwire.chassis.logging import get_logger
from stepwire_executor.attempts import Attempts
from stepwire_executor.steps import Verdict


class Away:
    """A database that lets nobody in, and a lease whose beats are waited for."""

    def __init__(self) -> None:
        self.leases = self
        self.beats = 0

    def execution_options(self, **_: Any) -> Away:
        """Be asked in any way."""
        return self

    def connect(self) -> Any:
        """Let nobody in."""
        raise ConnectionRefusedError

    async def next_beat(self) -> None:
        """Be waited for."""
        self.beats += 1


async def test_a_run_whose_log_cannot_be_read_yet_is_not_lost() -> None:
    """It is asked again with the next beat; three such losses would fail the step."""
    away: Any = Away()
    nothing: Any = None
    attempts = Attempts(away, nothing, nothing, away, get_logger())
    run = SimpleNamespace(steps_done=0, recalled=False)
    execution: Any = SimpleNamespace(run=run, node=SimpleNamespace(recalls=True))
    done = await attempts.execute(execution)
    assert done.verdict is Verdict.NOT_STARTED
    assert not run.recalled
    assert away.beats == 1
