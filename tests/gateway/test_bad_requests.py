"""Bodies, headers and addresses nobody should send: each is refused with a problem body, none is a failure."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import hypothesis
import orjson
import pytest
from hypothesis import strategies as st

from tests.gateway import workflows
from tests.gateway.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = 60
AT_ONCE = 10
REFUSALS = {400, 404, 409, 413, 415, 422}

Json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
BODIES = st.one_of(
    st.binary(max_size=200),
    Json.map(orjson.dumps),
    st.sampled_from(
        [
            *(b"[" * 5000, b'{"a":' * 2000 + b"1" + b"}" * 2000, b"[" * 300 + b"]" * 300),
            *(b"1e400", b"[1e400]", b"9" * 5000, b'{"a": %s}' % (b"9" * 400), b"NaN", b"[Infinity]"),
            *(
                b'["\\u0000"]',
                b'{"\\u0000": 1}',
                b'{"note": "\\ud800"}',
                b"\xff\xfe",
                b'{"note": "\xff"}',
                b"\xef\xbb\xbf[]",
            ),
            *(
                b"x" * 70_000,
                b'[{"a": "%s"}]' % (b"x" * 70_000),
                b'{"global_lock": 1}',
                b'{"note": null}',
                b" ",
                b"\x00",
            ),
        ]
    ),
)
TYPES = st.sampled_from(["application/json", "text/plain", "multipart/form-data", "application/xml; charset=no", "x"])
KEYS = st.none() | st.sampled_from(["", "x" * 201, "a,b", "ü"])
IDS = st.sampled_from(["{id}", str(uuid4()), "no-uuid", "%00", "%FF", "..%2f..", "0" * 3000, "\u00e9"])
ROUTES = st.sampled_from(
    [
        *(
            ("POST", "/api/processes/{workflow}"),
            ("POST", "/api/processes/{any}"),
            ("PUT", "/api/processes/{any}/resume"),
        ),
        *(("PUT", "/api/processes/{any}/skip"), ("PATCH", "/api/processes/{any}"), ("PUT", "/api/settings/status")),
        *(("POST", "/api/processes/{any}/callback/{any}"), ("POST", "{route}"), ("POST", "{route}/progress")),
        *(("GET", "/api/processes/{any}"), ("DELETE", "/api/processes/{any}"), ("GET", "/api/subscriptions/{any}")),
        *(("GET", "/api/processes/?filter={any}"), ("GET", "/api/processes/?range={any}&sort={any}")),
    ]
)


class Made(NamedTuple):
    """One made-up request."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]


def made_up(places: dict[str, str]) -> list[Made]:
    """Requests, made before any is sent, because hypothesis wants nothing to go on beside it."""
    made = []

    @hypothesis.settings(max_examples=EXAMPLES * 5, database=None, derandomize=True, phases=[hypothesis.Phase.generate])
    @hypothesis.given(route=ROUTES, body=BODIES, kind=TYPES, key=KEYS, any_id=IDS)
    def collect(route: tuple[str, str], body: bytes, kind: str, key: str | None, any_id: str) -> None:
        path = route[1].format(**places, any=any_id.format(**places))
        headers = {"Content-Type": kind, **({} if key is None else {"Idempotency-Key": key})}
        made.append(Made(route[0], path, body, headers))

    collect()
    return made


async def test_nothing_that_is_sent_is_a_failure(stage: Stage) -> None:
    """What is accepted is accepted; all else is refused in the one form that refusals have."""
    manifest = await stage.offer(workflows.with_callback())
    process_id = await stage.process(manifest, status="awaiting_callback", node="4.2")
    places = {"id": str(process_id), "workflow": manifest.workflow, "route": stage.route(process_id)}
    places_left = asyncio.Semaphore(AT_ONCE)

    async def answer(made: Made) -> httpx.Response:
        async with places_left:
            headers = [(name.encode(), value.encode()) for name, value in made.headers.items()]
            return await stage.http.request(made.method, made.path, content=made.body, headers=headers)

    requests = made_up(places)
    for made, response in zip(requests, await asyncio.gather(*map(answer, requests)), strict=True):
        problem(made, response)


def problem(made: Any, response: httpx.Response) -> None:
    """Check one answer."""
    if response.status_code < 300:
        return
    assert response.status_code in REFUSALS, (made, response.status_code, response.text)
    assert response.headers["content-type"] == "application/problem+json", made
    assert response.json()["status"] == response.status_code
    assert response.json()["detail"]
