"""The heart, pure: what a process is, and what one event makes of it."""

from stepwire.process.advance import advance
from stepwire.process.decision import Decision
from stepwire.process.model import FINISHED, Process, Status
from stepwire.process.starting import accept_start

__all__ = ["FINISHED", "Decision", "Process", "Status", "accept_start", "advance"]
