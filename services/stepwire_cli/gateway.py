"""The gateway as the command line talks to it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import httpx

from stepwire.chassis.errors import Unreachable
from stepwire_cli.errors import Failed, Refused, WrongUsage, near
from stepwire_cli.places import gateway_url

ANSWER_SECONDS = 30.0
CONNECT_SECONDS = 5.0
# A stream is silent for 15 s at most: the gateway sends a pulse.
SILENCE_SECONDS = 40.0

Body = dict[str, Any]

_BEGINNING = re.compile(r"[0-9a-f]{4,}", re.IGNORECASE)
_ID_DIGITS = 32


class Gateway:
    """Requests to one gateway; use it as a context manager."""

    def __init__(self, given_url: str | None = None) -> None:
        self.url = gateway_url(given_url)
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        self._http = httpx.Client(base_url=f"{self.url}/api", timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """The JSON body at `path`."""
        return _body(self.send("GET", path, params=params), self.url)

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request and return what was answered well.

        Raises:
            Unreachable: nobody answers at the address.
            Refused: the gateway said no.
            Failed: who answers is no gateway.
        """
        with self._reached():
            response = self._http.request(method, path, **options)
        if response.is_success:
            return response
        raise _refusal(response, self.url)

    @asynccontextmanager
    async def stream(self, path: str, **params: str) -> AsyncIterator[AsyncIterator[str]]:
        """The lines of a response while they come; errors as of `send`."""
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, read=SILENCE_SECONDS)
        with self._reached():
            async with (
                httpx.AsyncClient(base_url=f"{self.url}/api", timeout=timeout) as http,
                http.stream("GET", path, params=params) as response,
            ):
                if not response.is_success:
                    await response.aread()
                    raise _refusal(response, self.url)
                yield response.aiter_lines()

    def process(self, process_id: str) -> Body:
        """A process with its steps."""
        found: Body = self.get(f"/processes/{process_id}")
        return found

    def workflow_names(self) -> list[str]:
        """The names of all workflows that were ever offered."""
        return [workflow["name"] for workflow in self.get("/workflows")]

    def find(self, text: str) -> str:
        """The id of the process whose id is `text` or begins with it.

        Raises:
            WrongUsage: it is no id, or several processes have ids that begin so.
            Failed: no process has.
        """
        digits = text.replace("-", "")
        if not _BEGINNING.fullmatch(digits) or len(digits) > _ID_DIGITS:
            raise WrongUsage(f"{text!r} is no process id; give a UUID, or at least its first 4 digits.")
        if len(digits) == _ID_DIGITS:
            return str(UUID(digits))
        params = {"filter": f"process_id,{digits}", "range": "0,3"}
        found = [process["process_id"] for process in self.get("/processes/", **params)]
        if len(found) > 1:
            shown = ", ".join(found[:3])
            raise WrongUsage(f"several processes have ids that begin with {text!r}, such as {shown}; give more digits.")
        if not found:
            raise Failed(f"no process has an id that begins with {text!r}; `stepwire process list` shows them.")
        return str(found[0])

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except UnicodeEncodeError as error:
            why = "a header takes ASCII only" if error.encoding == "ascii" else "it is no text in UTF-8"
            raise WrongUsage(f"{error.object[error.start : error.end]!r} cannot be sent: {why}.") from error
        except httpx.InvalidURL as error:
            raise WrongUsage(f"{self.url!r} is no address of a gateway: {error}.") from error
        except httpx.TransportError as error:
            raise Unreachable("the gateway", self.url, str(error) or type(error).__name__) from error


def unknown_workflow(gateway: Gateway, name: str) -> Failed:
    """The error for a workflow there is not, with the names that are near."""
    known = gateway.workflow_names()
    hint = near(name, known) if known else ": no executor has offered any yet."
    return Failed(f"there is no workflow {name!r}{hint}")


def _body(response: httpx.Response, url: str) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise _stranger(url) from error


def _refusal(response: httpx.Response, url: str) -> Refused | Failed:
    try:
        body = response.json()
    except ValueError:
        return _stranger(url)
    if not isinstance(body, dict) or "detail" not in body:
        return _stranger(url)
    return Refused(response.status_code, body, url)


def _stranger(url: str) -> Failed:
    return Failed(f"who answers at {url} is no gateway of Stepwire; name it with --url.")
