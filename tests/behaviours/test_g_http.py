"""G. The HTTP API of a running Stepwire: every path, its body, its answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
from websockets.sync.client import connect

from stepwire.contracts.commands import process_id_of
from tests.behaviours.doors import HttpDoor, KafkaDoor, Live
from tests.behaviours.driver import handed_out
from tests.behaviours.wire import WAIT_SECONDS

PROCESS = {
    *("process_id", "workflow_id", "workflow_name", "workflow_target", "is_task", "last_status", "last_step"),
    *("assignee", "created_by", "started_at", "last_modified_at", "failed_reason", "note", "product_id", "customer_id"),
    *("waiting_on", "labels", "priority", "attempt", "progress", "subscriptions", "form"),
}
DETAIL = {"traceback", "current_state", "steps"}
STEP = {
    *("step_id", "name", "status", "started", "completed", "created_by", "state", "state_delta"),
    *("node", "attempt", "retries", "executor", "error", "sub_steps"),
}
SITE = {"site": "ams", "ports": 4}


def body(live: Live, path: str) -> Any:
    """The JSON of a path that is there."""
    response = live.request("GET", f"/api{path}")
    assert response.status_code == 200
    return response.json()


def test_g_start_answers_with_the_id(live: Live, http: HttpDoor) -> None:
    """201, the same for the same Idempotency-Key; everything that may be said of a start is kept."""
    order, key = str(uuid4()), f"key-{uuid4()}"
    query: dict[str, Any] = {"reporter": "crm", "priority": 3, "label": [f"order:{order}", "kind:g"]}
    answers = [
        live.request("POST", "/api/processes/d31_one_page", json=[SITE], params=query, headers={"Idempotency-Key": key})
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert [UUID(answer.json()["id"]) for answer in answers] == [process_id_of(key)] * 2
    http.wait(process_id_of(key), "completed")
    shown = body(live, f"/processes/{process_id_of(key)}")
    assert (shown["created_by"], shown["priority"], shown["labels"]) == ("crm", 3, {"order": order, "kind": "g"})


def test_g_forms_by_themselves(live: Live) -> None:
    """Listed by their keys, and asked with the protocol of a start's form: 510, 400, 200; 404 for another key."""
    assert {"d31_free", "d31_free_one"} <= set(body(live, "/forms/"))
    answers = [
        live.request("POST", f"/api/forms/{key}", json=pages)
        for key, pages in (("d31_free_one", []), ("d31_free_one", [{}]), ("d31_free_one", [SITE]), ("nothing", []))
    ]
    assert [answer.status_code for answer in answers] == [510, 400, 200, 404]
    missing, invalid, complete, unknown = (answer.json() for answer in answers)
    assert (missing["title"], set(missing["form"]["properties"])) == ("Form not complete", set(SITE))
    assert [set(error) >= {"loc", "msg", "type"} for error in invalid["validation_errors"]] == [True, True]
    assert (complete, unknown["reason"]) == (SITE, "unknown_form")


def test_g_a_process_is_shown_with_its_steps(live: Live, http: HttpDoor) -> None:
    """The executed ones with State and what they changed, then those to come; the next form; what it waits for."""
    process_id = http.start("a09_input", reporter="crm")
    http.wait(process_id, "suspended")
    shown = body(live, f"/processes/{process_id}")
    assert set(shown) >= PROCESS | DETAIL
    assert (shown["workflow_name"], shown["last_status"], shown["assignee"]) == ("a09_input", "suspended", "CHANGES")
    assert [(step["name"], step["status"]) for step in shown["steps"]] == [
        *(("Start", "success"), ("Put person", "success"), ("Confirm the person", "suspend")),
        *(("Say after", "pending"), ("Done", "pending")),
    ]
    assert all(set(step) >= STEP for step in shown["steps"][:3])
    put = shown["steps"][1]
    assert set(put["state_delta"]) == {"person"}
    assert put["state"] == shown["current_state"] == {**shown["steps"][0]["state"], **put["state_delta"]}
    assert set(shown["form"]["properties"]) == {"name", "contact", "tags", "known"}
    assert (shown["waiting_on"]["kind"], shown["waiting_on"]["who"]) == ("input", "CHANGES")
    http.abort(process_id)


def test_g_sub_steps_are_shown_beneath_their_step(live: Live, http: HttpDoor) -> None:
    """Of a group and of a callback step; those to come, too."""
    process_id = http.start("a11_callback")
    http.wait(process_id, "awaiting_callback")
    group = body(live, f"/processes/{process_id}")["steps"][1]
    assert [step["node"] for step in group["sub_steps"]] == ["2.1", "2.2.1"]
    http.abort(process_id)
    waiting = http.start("b19_suspended")
    http.wait(waiting, "suspended")
    pending = [step for step in body(live, f"/processes/{waiting}")["steps"] if step["status"] == "pending"]
    assert [step["name"] for step in pending] == ["Say after", "Done"]
    http.abort(waiting)


def test_g_the_subscriptions_of_a_process_are_shown(live: Live, http: HttpDoor) -> None:
    """Those it works on."""
    subscription_id = http.subscription()
    process_id = http.start("b19_locked", {"subscription_id": str(subscription_id)})
    http.open_gate(process_id)
    http.wait(process_id, "completed")
    shown = body(live, f"/processes/{process_id}")["subscriptions"]
    assert [one["subscription_id"] for one in shown] == [str(subscription_id)]


def batch(http: HttpDoor) -> tuple[str, list[UUID]]:
    """Five processes of one label: three completed, one suspended, one failed."""
    label = {"batch": uuid4().hex}
    completed = [http.start("d31_no_form", labels=label, priority=n) for n in range(3)]
    others = [http.start("b19_suspended", labels=label), http.start("a04_missing", labels=label)]
    for process_id in completed:
        http.wait(process_id, "completed")
    http.wait(others[0], "suspended")
    http.wait(others[1], "failed")
    return f"label,batch:{label['batch']}", [*completed, *others]


def test_g_lists_are_filtered_sorted_and_cut(live: Live, http: HttpDoor) -> None:
    """By the parameters clients know; `Content-Range` says how many there are; a list is short."""
    label, made = batch(http)

    def listed(*filters: str, **params: Any) -> tuple[list[UUID], str]:
        response = live.request("GET", "/api/processes/", params={"filter": [label, *filters], **params})
        assert response.status_code == 200
        assert all(set(one) >= PROCESS and not set(one) & DETAIL for one in response.json())
        return [UUID(one["process_id"]) for one in response.json()], response.headers["Content-Range"]

    assert set(listed()[0]) == set(made)
    assert listed(sort="started_at,asc") == (made, "processes 0-5/5")
    assert listed(sort="started_at,desc", range="0,2") == ([made[4], made[3]], "processes 0-2/5")
    assert listed(sort="started_at,asc", range="2,4")[0] == made[2:4]
    assert set(listed("last_status,failed")[0]) == {made[4]}
    assert set(listed("last_status,failed-suspended")[0]) == set(made[3:])
    assert listed("workflow_name,d31_no_form", sort="priority,desc")[0] == made[2::-1]
    assert listed(f"process_id,{made[0]}")[0] == made[:1]
    http.abort(made[3])


def test_g_a_list_that_has_not_changed_is_not_sent_again(live: Live, http: HttpDoor) -> None:
    """304 for its ETag, until one of it has changed."""
    process_id = http.start("b19_suspended", labels={"etag": (mark := uuid4().hex)})
    http.wait(process_id, "suspended")
    path = f"/api/processes/?filter=label,etag:{mark}"
    tag = live.request("GET", path).headers["ETag"]
    assert live.request("GET", path, headers={"If-None-Match": tag}).status_code == 304
    http.abort(process_id)
    http.wait(process_id, "aborted")
    changed = live.request("GET", path, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.headers["ETag"] != tag) == (200, True)


def test_g_statuses_are_counted(live: Live, http: HttpDoor) -> None:
    """Of processes and of tasks apart."""
    before = body(live, "/processes/status-counts")
    http.wait(http.start("b15_process", {"kind": "well"}), "completed")
    http.wait(http.start("d31_no_form"), "completed")
    after = body(live, "/processes/status-counts")
    for kind in ("process_counts", "task_counts"):
        assert after[kind]["completed"] == before[kind].get("completed", 0) + 1


def test_g_the_engine_is_paused_and_unpaused(live: Live) -> None:
    """Each call answers with the status after it."""
    path = "/api/settings/status"
    try:
        on = live.request("PUT", path, json={"global_lock": True})
        assert (on.status_code, on.json()["global_lock"]) == (200, True)
        assert on.json()["global_status"] in ("PAUSING", "PAUSED")
    finally:
        off = live.request("PUT", path, json={"global_lock": False})
    assert off.json()["global_status"] == "RUNNING"
    assert live.request("PUT", path, json={"global_lock": "yes"}).status_code == 400
    assert set(body(live, "/settings/status")) == {"global_lock", "global_status", "running_processes"}


def test_g_orders_have_no_body(live: Live, http: HttpDoor) -> None:
    """204: resume, abort, skip; a note is answered with itself."""
    process_id = http.start("b17_endless")
    http.wait(process_id, "failed")
    path = f"/api/processes/{process_id}"
    assert live.request("PUT", f"{path}/resume", json=[]).status_code == 204
    http.wait(process_id, "failed", until=lambda seen: seen.failed_reason == "number 2")
    assert live.request("PUT", f"{path}/skip", json={"node": "3", "state": {}, "reason": "by hand"}).status_code == 204
    http.wait(process_id, "completed")
    assert live.request("PUT", f"{path}/abort").status_code == 204
    assert http.wait(process_id).status == "completed"
    noted = live.request("PATCH", path, json={"note": "done by hand"}, params={"user": "jane"})
    assert (noted.status_code, noted.json()["note"]) == (200, "done by hand")
    for verb in ("resume", "skip"):
        refused = live.request("PUT", f"{path}/{verb}", json=[] if verb == "resume" else {"node": "3"})
        assert (refused.status_code, refused.json()["reason"]) == (409, "wrong_status")


def test_g_only_tasks_that_have_ended_are_deleted(live: Live, http: HttpDoor) -> None:
    """204, and it is gone with its log; a process that is no task, or one that has not ended, is kept (23)."""
    task, process = http.start("d31_no_form"), http.start("b15_process", {"kind": "well"})
    waiting = http.start("b19_suspended")
    for process_id, status in ((task, "completed"), (process, "completed"), (waiting, "suspended")):
        http.wait(process_id, status)
    for kept in (process, waiting):
        refused = live.request("DELETE", f"/api/processes/{kept}")
        assert (refused.status_code // 100, bool(refused.json()["detail"])) == (4, True)
        assert live.request("GET", f"/api/processes/{kept}").status_code == 200
    assert live.request("DELETE", f"/api/processes/{task}").status_code == 204
    assert [live.request(verb, f"/api/processes/{task}").status_code for verb in ("GET", "DELETE")] == [404, 404]
    assert live.sql("SELECT count(*) FROM stepwire_engine.process_steps WHERE process_id = %s", task) == [(0,)]
    http.abort(waiting)


def test_g_a_subscription_is_brought_back_in_sync(live: Live, http: HttpDoor) -> None:
    """When no unfinished process works on it; until then who holds it is told."""
    subscription_id = http.subscription()
    process_id = http.start("b19_locked", {"subscription_id": str(subscription_id)})
    path = f"/api/subscriptions/{subscription_id}"
    refused = live.request("PUT", f"{path}/set_in_sync")
    assert (refused.status_code, refused.json()["holder"]) == (409, str(process_id))
    http.abort(process_id)
    http.wait(process_id, "aborted")
    assert body(live, f"/subscriptions/{subscription_id}")["insync"] is False
    assert live.request("PUT", f"{path}/set_in_sync").status_code // 100 == 2
    assert body(live, f"/subscriptions/{subscription_id}")["insync"] is True
    http.open_gate(process_id)


def test_g_workflows_are_listed(live: Live) -> None:
    """With what they are for."""
    found = {one["name"]: one for one in body(live, "/workflows")}
    assert (found["b15_process"]["target"], found["b15_process"]["is_task"]) == ("CREATE", False)
    assert (found["d31_two_pages"]["has_form"], found["d31_no_form"]["has_form"]) == (True, False)
    assert found["d31_two_pages"]["description"] == "Two pages"


@contextmanager
def events(live: Live, cursor: str | None = None, **query: str) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
    """Server-sent events: cursor and event."""
    url = f"{live.stack.services['gateway-1'].url}/api/events"
    headers = {} if cursor is None else {"Last-Event-ID": cursor}
    with httpx.stream("GET", url, params=query, headers=headers, timeout=WAIT_SECONDS) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        yield _parsed(response.iter_lines())


def _parsed(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    cursor = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "id":
            cursor = value
        if field == "data":
            yield cursor, orjson.loads(value)


WORDS = ["created", "started", "suspended", "resumed", "completed"]


def test_g_events_are_followed(live: Live, http: HttpDoor) -> None:
    """Server-sent, in order, filtered by process; the cursor of one of them goes on behind it, at any gateway."""
    command_id = f"followed-{uuid4()}"
    process_id = process_id_of(command_id)
    with events(live, process_id=str(process_id)) as following:
        http.start("b19_suspended", command_id=command_id)
        http.wait(process_id, "suspended")
        http.resume(process_id, {})
        seen = [next(following)]
        while not seen[-1][1]["type"].endswith("process.completed"):
            seen.append(next(following))
    told = [event["type"].removeprefix("stepwire.process.") for _, event in seen if ".process." in event["type"]]
    assert told == WORDS
    assert {event["subject"] for _, event in seen} == {str(process_id)}
    started = next(cursor for cursor, event in seen if event["type"] == "stepwire.process.started")
    with events(live, started, process_id=str(process_id), type="stepwire.process.completed") as again:
        assert next(again)[1]["id"] == seen[-1][1]["id"]


def test_g_events_come_by_websocket_too(live: Live, http: HttpDoor) -> None:
    """The same, each with its cursor."""
    url = f"{live.stack.services['gateway-2'].url}/api/ws/events".replace("http:", "ws:")
    command_id = f"followed-{uuid4()}"
    process_id = process_id_of(command_id)
    with connect(f"{url}?process_id={process_id}&type=stepwire.process.completed") as socket:
        http.start("d31_no_form", command_id=command_id)
        message = orjson.loads(socket.recv(timeout=WAIT_SECONDS))
    assert (message["event"]["subject"], bool(message["id"])) == (str(process_id), True)


def test_g_each_gateway_says_how_it_is(live: Live) -> None:
    """Health and metrics without /api; the API describes itself, for people and for programs, without the internet."""
    for name in ("gateway-1", "gateway-2"):
        url = live.stack.services[name].url
        assert [live.http.get(f"{url}/health/{kind}").status_code for kind in ("live", "ready")] == [200, 200]
        assert "stepwire_" in live.http.get(f"{url}/metrics").text
        described = live.http.get(f"{url}/openapi.json").json()["paths"]
        assert {"/api/processes/{workflow}", "/api/processes/{process_id}", "/api/settings/status"} <= set(described)
        for page in ("/docs", "/asyncapi"):
            text = live.http.get(f"{url}{page}").text
            assert "https://cdn" not in text
            assert "<html" in text.lower()


def test_g_a_callback_is_answered_by_the_route_that_was_handed_out(live: Live, kafka: KafkaDoor) -> None:
    """POST to it, and to its progress."""
    process_id = kafka.start("c25_one")
    route = handed_out(kafka.wait(process_id, "awaiting_callback"))
    assert live.request("POST", f"{route}/progress", json={"percent": 5}).status_code == 200
    assert live.request("POST", f"{route}/progress", content="half").status_code == 200
    assert live.request("POST", route, json={"n": 1}).status_code == 200
    kafka.wait(process_id, "completed")


def test_g_an_error_has_one_form(live: Live) -> None:
    """`type`, `title`, `status`, `detail` and `reason`, whoever refuses."""
    for method, path in (("GET", "/processes/no-uuid"), ("PUT", f"/processes/{uuid4()}/resume"), ("GET", "/nowhere")):
        answer = live.request(method, f"/api{path}", json=[] if method == "PUT" else None)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        assert {"type", "title", "status", "detail", "reason"} <= set(answer.json())
