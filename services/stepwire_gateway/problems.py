"""Refusals over HTTP: application/problem+json, one status per reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from stepwire.chassis.logging import get_logger
from stepwire.contracts.reasons import Reason
from stepwire.flow.errors import StepwireError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5
NOT_EXTENDED = 510
METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
TEMPORARY = frozenset({HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS})

STATUS_OF_REASON: Mapping[str, int] = {
    Reason.MALFORMED: 400,
    Reason.UNKNOWN_TYPE: 400,
    Reason.INVALID_INPUT: 400,
    Reason.NOT_ALLOWED: 403,
    Reason.UNKNOWN_WORKFLOW: 404,
    Reason.UNKNOWN_PROCESS: 404,
    Reason.COMMAND_ID_REUSED: 409,
    Reason.PROCESS_EXISTS: 409,
    Reason.SUBSCRIPTION_LOCKED: 409,
    Reason.NOT_IN_SYNC: 409,
    Reason.WRONG_STATUS: 409,
    Reason.STALE_VERSION: 409,
    Reason.PREDICATE_FAILED: 412,
    Reason.TOO_LARGE: 413,
    Reason.ENGINE_PAUSED: 503,
    Reason.NO_EXECUTOR: 503,
}
"""Reasons not named here are rules about subscriptions: the state of things conflicts with the wish, 409."""


Count = Callable[[Request, "Problem"], None]


class Problem(StepwireError):  # noqa: N818  # the word RFC 9457 has for it
    """A request is refused; `details` are the members that the case needs, such as `form` or `holder`.

    `answered` says that a coordinator gave this answer, not the gateway by itself.
    """

    def __init__(self, status: int, reason: str, detail: str, **details: Any) -> None:
        super().__init__(detail)
        self.answered = False
        self.status = status
        self.reason = reason
        self.detail = detail
        self.details = details

    @property
    def body(self) -> dict[str, Any]:
        """The problem as it is sent."""
        return {
            "type": "about:blank" if not self.reason else f"urn:stepwire:problem:{self.reason}",
            "title": _title(self.status),
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
            **self.details,
        }

    def response(self) -> Response:
        """The answer; a temporary refusal says when to come again."""
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if self.status in TEMPORARY else None
        return Response(orjson.dumps(self.body), self.status, headers, MEDIA_TYPE)


def refusal(reason: str, detail: str, **details: Any) -> Problem:
    """The problem for a refusal by its reason."""
    return Problem(STATUS_OF_REASON.get(reason, 409), str(reason), detail, **details)


def refused_command(answer: Mapping[str, Any]) -> Problem:
    """The problem for the data of a `command.rejected`."""
    details: dict[str, Any] = {}
    if answer.get("errors"):
        details["validation_errors"] = answer["errors"]
    if answer.get("holder"):
        details["holder"] = answer["holder"]
    reason = answer.get("reason") or Reason.MALFORMED
    problem = refusal(reason, answer.get("detail") or "the command was refused", **details)
    problem.answered = True
    return problem


def malformed(detail: str, errors: Sequence[Mapping[str, Any]] = ()) -> Problem:
    """The request cannot be understood."""
    return Problem(400, Reason.MALFORMED, detail, **({"validation_errors": list(errors)} if errors else {}))


def unknown_process() -> Problem:
    """There is no such process."""
    return refusal(Reason.UNKNOWN_PROCESS, "there is no such process; check the id")


def unknown_route() -> Problem:
    """There is no such process or another token is meant: who guesses learns nothing."""
    return refusal(Reason.UNKNOWN_PROCESS, "nobody waits at this address; use the callback route as it was handed out")


def undecided_start() -> Problem:
    """There is no such process yet, but somebody has asked for it."""
    detail = "the start of this process was received and is not decided yet; look again later"
    return refusal(Reason.UNKNOWN_PROCESS, detail)


def kafka_away() -> Problem:
    """Kafka does not answer."""
    return Problem(503, "kafka_unavailable", "Kafka cannot be reached at the moment; try again")


def install(app: FastAPI, count: Count) -> None:
    """Make every refusal and every failure of `app` a problem body, and tell `count` of refusals."""

    async def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)  # noqa: S101  # registered for this type alone
        count(request, error)
        return error.response()

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for this type alone
        return await problem(request, _invalid(error))

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _failed)


_SENTENCES: Mapping[int, str] = {
    404: "there is nothing at this address; /docs shows what there is",
    405: "this address does not take this method; /docs shows which it takes",
}


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for this type alone
    word = _title(error.status_code).lower().replace(" ", "_")
    response = Problem(error.status_code, word, _SENTENCES.get(error.status_code, str(error.detail))).response()
    response.headers.update(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = ", ".join(_methods_at(request))
    return response


def _methods_at(request: Request) -> list[str]:
    """What the address takes by all routes that fit; the framework names the methods of the first one only."""
    asked = [(method, {**request.scope, "method": method}) for method in METHODS]
    routes = request.app.routes
    return [method for method, scope in asked if any(route.matches(scope)[0] is Match.FULL for route in routes)]


def _invalid(error: RequestValidationError) -> Problem:
    errors = [{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in error.errors()]
    detail = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in errors)
    return malformed(detail, errors)


async def _failed(request: Request, error: Exception) -> Response:
    # The server logs the traceback. The route's template is told, never its path: that may hold a callback token.
    route = getattr(request.scope.get("route"), "path", "")
    get_logger().error("A request failed.", action="request", route=route, error=type(error).__name__)
    return Problem(500, "internal_error", "the gateway failed at this request; see its log").response()


def _title(status: int) -> str:
    if status == NOT_EXTENDED:
        return "Form not complete"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
