"""Counting what the gateway refuses by itself: what coordinators answer, they count."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request

from stepwire.chassis.metrics import Metrics
from stepwire_gateway.problems import NOT_EXTENDED, Problem

COMMAND_OF_ROUTE: Mapping[str, str] = {
    "POST /processes/{workflow}": "StartProcess",
    "PUT /processes/{process_id}/resume": "ResumeProcess",
    "PUT /processes/{process_id}/abort": "AbortProcess",
    "PUT /processes/{process_id}/skip": "SkipStep",
    "PATCH /processes/{process_id}": "AddNote",
    "PUT /processes/resume-all": "ResumeAll",
    "PUT /settings/status": "PauseEngine",
    "PUT /subscriptions/{subscription_id}/set_in_sync": "SetInSync",
}
"""The type of the command that a request to this route becomes, unless its handler says another."""


class Refusals:
    """Tells `stepwire_commands_total` of requests that never became a command, or whose command was never answered."""

    def __init__(self, metrics: Metrics) -> None:
        self._commands = metrics.commands

    def count(self, request: Request, problem: Problem) -> None:
        """Count `problem`, if the request was for a command; a wanted page is `incomplete`, no refusal."""
        # The route of an included router has the path it was given there.
        route = str(getattr(request.scope.get("route"), "path", "")).removeprefix("/api")
        named = getattr(request.state, "command", None)
        command = named or COMMAND_OF_ROUTE.get(f"{request.method} {route}")
        if command is not None and not problem.answered:
            outcome = "incomplete" if problem.status == NOT_EXTENDED else "rejected"
            self._commands.labels(command, outcome).inc()
