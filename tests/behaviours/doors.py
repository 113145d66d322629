"""The public doors of a running Stepwire: HTTP, and Kafka."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg

from stepwire.chassis.settings import Settings
from stepwire.contracts import topics
from stepwire.contracts.commands import process_id_of
from stepwire.contracts.tokens import callback_route, derive_key, make_token
from stepwire_cli.stack import Stack
from tests.behaviours.driver import Journals, Page, Refused, Seen, seen_steps
from tests.behaviours.wire import WAIT_SECONDS, Wire
from tests.support.described import Described

POLL_SECONDS = 0.02
PENDING = "pending"


@dataclass
class Live:
    """A running Stepwire as it is seen from outside."""

    stack: Stack
    settings: Settings
    wire: Wire
    http: httpx.Client

    def __post_init__(self) -> None:
        gateways = [name for name, service in self.stack.services.items() if service.kind == "gateway"]
        self.asked = dict.fromkeys(gateways, 0)
        self._gateways = itertools.cycle(gateways)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request to the next gateway in turn."""
        name = next(self._gateways)
        response = self.http.request(method, f"{self.stack.services[name].url}{path}", **options)
        self.asked[name] += 1
        return response

    def restart(self, names: Iterable[str], environment: Mapping[str, str] | None = None) -> None:
        """Start services again, all at once; in this thread, for they end with the thread that has started them."""
        services = [self.stack.services[name] for name in names]
        for service in services:
            service.ask_to_stop()
        for service in services:
            service.stop()
            self.stack.start_service(service.name, environment)
        for service in services:
            service.wait_ready()

    def look(self, process_id: UUID) -> Seen | None:
        """The process now, None if there is none."""
        response = self.request("GET", f"/api/processes/{process_id}")
        return None if response.status_code == httpx.codes.NOT_FOUND else _seen(_done(response).json())

    def wait(self, process_id: UUID, *statuses: str, until: Callable[[Seen], bool] | None = None) -> Seen:
        """The process when it has one of these statuses and `until` holds."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            seen = self.look(process_id)
            if seen and (not statuses or seen.status in statuses) and (until is None or until(seen)):
                return seen
            if time.monotonic() > deadline:
                raise TimeoutError(f"not {statuses} in time: {seen}")
            time.sleep(POLL_SECONDS)

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a statement, committed."""
        with psycopg.connect(self.settings.database_url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def route(self, process_id: UUID, node: str, attempt: int = 1) -> str:
        """The route that an action will hand out, known beforehand to who has the secret."""
        secret = self.settings.callback_secrets[0]
        token = make_token(derive_key(secret.value, process_id), secret.id, node, attempt)
        return callback_route(process_id, token)


class Door(Journals):
    """What both doors have in common: looking, and what is there before anybody asks."""

    def __init__(self, live: Live) -> None:
        self.live = live

    def wait(self, process_id: UUID, *statuses: str, until: Callable[[Seen], bool] | None = None) -> Seen:
        """The process when it has one of these statuses and `until` holds."""
        return self.live.wait(process_id, *statuses, until=until)

    def route(self, process_id: UUID, node: str, attempt: int = 1) -> str:
        """The route that an action will hand out."""
        return self.live.route(process_id, node, attempt)

    def engine(self) -> tuple[str, int]:
        """GET /settings/status."""
        body = _done(self.live.request("GET", "/api/settings/status")).json()
        assert body["global_lock"] == (body["global_status"] != "RUNNING")
        return body["global_status"], body["running_processes"]

    def is_held(self, command_id: str) -> bool:
        """What the log of commands says."""
        rows = self.live.sql("SELECT status FROM stepwire_engine.commands WHERE command_id = %s", command_id)
        return rows == [("held",)]

    def notes(self, process_id: UUID) -> list[tuple[str, dict[str, Any], str | None]]:
        """What the table says."""
        columns = "SELECT kind, body, created_by FROM stepwire_engine.process_notes"
        rows: list[Any] = self.live.sql(f"{columns} WHERE process_id = %s ORDER BY id", process_id)
        return rows

    def inputs(self, process_id: UUID) -> list[tuple[str, list[Page], str | None]]:
        """What the table says."""
        given = "SELECT node, pages, given_by FROM stepwire_engine.process_inputs WHERE given_at <= now()"
        rows: list[Any] = self.live.sql(f"{given} AND process_id = %s ORDER BY seq", process_id)
        return rows

    def subscription(self) -> UUID:
        """A row of subscriptions."""
        insert = "INSERT INTO subscriptions (insync, status) VALUES (true, 'active') RETURNING subscription_id"
        subscription_id: UUID = self.live.sql(insert)[0][0]
        return subscription_id

    def owner(self, subscription_id: UUID) -> tuple[bool, UUID | None]:
        """What the tables say."""
        rows = self.live.sql(
            "SELECT s.insync, l.owner FROM subscriptions s LEFT JOIN stepwire_engine.locks l "
            "ON l.key = 'subscription:' || s.subscription_id::text WHERE s.subscription_id = %s",
            subscription_id,
        )
        return rows[0][0], rows[0][1]


class HttpDoor(Door):
    """Everything over HTTP, through both gateways in turn."""

    def start(self, workflow: str, *pages: Page, **options: Any) -> UUID:
        """POST /processes/{workflow}."""
        headers = {"Idempotency-Key": options.pop("command_id")} if "command_id" in options else {}
        labels = [f"{key}:{value}" for key, value in options.pop("labels", {}).items()]
        query = {**options, **({"label": labels} if labels else {})}
        response = self.live.request(
            "POST", f"/api/processes/{workflow}", json=list(pages), params=query, headers=headers
        )
        return UUID(_done(response).json()["id"])

    def fill_form(self, key: str, *pages: Page, reporter: str) -> Page:
        """POST /forms/{key}."""
        response = self.live.request("POST", f"/api/forms/{key}", json=list(pages), params={"reporter": reporter})
        result: Page = _done(response).json()
        return result

    def resume(self, process_id: UUID, *pages: Page, user: str | None = None) -> None:
        """PUT /processes/{id}/resume."""
        _done(
            self.live.request("PUT", f"/api/processes/{process_id}/resume", json=list(pages), params=_given(user=user))
        )

    def abort(self, process_id: UUID, *, user: str | None = None, reason: str | None = None) -> None:
        """PUT /processes/{id}/abort."""
        _done(self.live.request("PUT", f"/api/processes/{process_id}/abort", params=_given(user=user, reason=reason)))

    def skip(self, process_id: UUID, node: str, state: Page, *, reason: str, user: str | None = None) -> None:
        """PUT /processes/{id}/skip."""
        body = {"node": node, "state": state, "reason": reason}
        _done(self.live.request("PUT", f"/api/processes/{process_id}/skip", json=body, params=_given(user=user)))

    def pause(self) -> None:
        """PUT /settings/status."""
        _done(self.live.request("PUT", "/api/settings/status", json={"global_lock": True}))

    def unpause(self) -> None:
        """PUT /settings/status."""
        _done(self.live.request("PUT", "/api/settings/status", json={"global_lock": False}))

    def resume_all(self) -> None:
        """PUT /processes/resume-all."""
        _done(self.live.request("PUT", "/api/processes/resume-all"))

    def post_callback(self, process_id: UUID, route: str, payload: Page) -> None:
        """POST to the route."""
        _done(self.live.request("POST", route, json=payload))

    def post_progress(self, process_id: UUID, route: str, news: Any) -> None:
        """POST to the route of the progress."""
        _done(self.live.request("POST", f"{route}/progress", json=news))

    def note(self, process_id: UUID, note: str, *, user: str | None = None) -> None:
        """PATCH /processes/{id}."""
        _done(self.live.request("PATCH", f"/api/processes/{process_id}", json={"note": note}, params=_given(user=user)))


class KafkaDoor(Door):
    """Everything by records; answers are events."""

    def start(self, workflow: str, *pages: Page, **options: Any) -> UUID:
        """StartProcess."""
        fields = {"workflow": workflow, "user_inputs": list(pages), **options}
        answer = self.command("StartProcess", None, fields)
        return UUID(answer["process_id"])

    def start_later(self, workflow: str, *pages: Page, **options: Any) -> UUID:
        """StartProcess; returns before it is answered."""
        command_id = f"test-{uuid4()}"
        process_id = process_id_of(command_id)
        fields = {"workflow": workflow, "user_inputs": list(pages), "command_id": command_id, **options}
        self.live.wire.send_later(topics.PROCESS_COMMANDS, {"type": "StartProcess", **fields}, str(process_id))
        return process_id

    def order_later(self, kind: str, process_id: UUID, **fields: Any) -> str:
        """Any order about a process; returns its command id before it is answered."""
        command_id = f"test-{uuid4()}"
        record = {"type": kind, "command_id": command_id, "process_id": str(process_id), **fields}
        self.live.wire.send_later(topics.PROCESS_COMMANDS, record, str(process_id))
        return command_id

    def resume(self, process_id: UUID, *pages: Page, user: str | None = None) -> None:
        """ResumeProcess."""
        self.command("ResumeProcess", process_id, {"user_inputs": list(pages), **_given(user=user)})

    def abort(self, process_id: UUID, *, user: str | None = None, reason: str | None = None) -> None:
        """AbortProcess."""
        self.command("AbortProcess", process_id, _given(user=user, reason=reason))

    def skip(self, process_id: UUID, node: str, state: Page, *, reason: str, user: str | None = None) -> None:
        """SkipStep."""
        self.command("SkipStep", process_id, {"node": node, "state": state, "reason": reason, **_given(user=user)})

    def pause(self) -> None:
        """PauseEngine."""
        self.command("PauseEngine", None, {})

    def unpause(self) -> None:
        """UnpauseEngine."""
        self.command("UnpauseEngine", None, {})

    def resume_all(self) -> None:
        """ResumeAll."""
        self.command("ResumeAll", None, {})

    def post_callback(self, process_id: UUID, route: str, payload: Page) -> None:
        """CallbackReceived."""
        token = route.rpartition("/")[2]
        record = {"type": "CallbackReceived", "process_id": str(process_id), "token": token, "payload": payload}
        self.live.wire.send(topics.CALLBACKS, record, str(process_id))

    def post_progress(self, process_id: UUID, route: str, news: Any) -> None:
        """CallbackProgress."""
        token = route.rpartition("/")[2]
        record = {"type": "CallbackProgress", "process_id": str(process_id), "token": token, "progress": news}
        self.live.wire.send(topics.CALLBACKS, record, str(process_id))

    def note(self, process_id: UUID, note: str, *, user: str | None = None) -> None:
        """AddNote."""
        self.command("AddNote", process_id, {"note": note, **_given(user=user)})

    def command(self, kind: str, process_id: UUID | None, fields: dict[str, Any]) -> dict[str, Any]:
        """Publish a command and return the data of its answer."""
        command_id = fields.pop("command_id", None) or f"test-{uuid4()}"
        named = {} if process_id is None else {"process_id": str(process_id)}
        record = {"type": kind, "command_id": command_id, "source": "test", **named, **fields}
        earlier = self.live.wire.answers(command_id)
        key = str(process_id or process_id_of(command_id)) if process_id or kind == "StartProcess" else "engine"
        self.live.wire.send(topics.PROCESS_COMMANDS, record, key)
        answer = self.live.wire.answer(command_id, after=len(earlier))
        data: dict[str, Any] = answer["data"]
        if answer["type"] == "stepwire.command.rejected":
            raise Refused(data["reason"], data["detail"], errors=data.get("errors"), holder=data.get("holder"))
        return data


@contextmanager
def open_live(stack: Stack) -> Iterator[Live]:
    """Look at a stack that runs; every answer over HTTP is held against the description it gives of itself."""
    with Wire(stack.settings) as wire, httpx.Client(timeout=WAIT_SECONDS) as http:
        Described(http.get(f"{stack.gateway_url}/openapi.json").raise_for_status().json()).checking(http)
        yield Live(stack, stack.settings, wire, http)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _done(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    body = response.json()
    raise Refused(
        body["reason"],
        body["detail"],
        status=response.status_code,
        errors=body.get("validation_errors"),
        form=body.get("form"),
        holder=body.get("holder"),
    )


def _seen(body: dict[str, Any]) -> Seen:
    executed: Sequence[dict[str, Any]] = [step for step in body["steps"] if step["status"] != PENDING]
    return Seen(
        process_id=UUID(body["process_id"]),
        status=body["last_status"],
        state=body["current_state"],
        steps=seen_steps(executed),
        pending=tuple(step["name"] for step in body["steps"] if step["status"] == PENDING),
        failed_reason=body["failed_reason"],
        traceback=body["traceback"],
        assignee=body["assignee"],
        form=body["form"],
        waiting_on=body["waiting_on"],
        progress=body["progress"],
    )
