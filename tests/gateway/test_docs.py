"""What the gateway says about itself."""

from __future__ import annotations

import re

import pytest

from tests.gateway.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_every_operation_is_described_with_examples(stage: Stage) -> None:
    """Bodies and answers have a schema and an example each, refusals are problems."""
    described = (await stage.http.get("/openapi.json")).json()
    operations = [
        (f"{method} {path}", operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    assert {path for path, _ in operations} >= {
        "post /api/processes/{workflow}",
        "put /api/processes/{process_id}/resume",
        "post /api/processes/{process_id}/callback/{token}",
        "get /api/processes/{process_id}",
        "get /api/processes/",
        "put /api/settings/status",
    }
    for path, operation in operations:
        for status, answer in operation["responses"].items():
            for kind, content in answer.get("content", {}).items():
                assert {"schema", "example"} <= content.keys(), (path, status)
                assert (kind == "application/problem+json") is ("/api/" in path and int(status) >= 400)
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert "example" in content, path
        names = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"}
        assert names == set(re.findall(r"{(\w+)}", path))
        assert operation.get("description"), path


@pytest.mark.parametrize("path", ["/docs", "/asyncapi"])
async def test_a_page_loads_nothing_from_elsewhere(stage: Stage, path: str) -> None:
    """Everything it names is served here."""
    page = (await stage.http.get(path)).text
    assert "://" not in re.sub(r'"https?://[^"]*#?"', "", page.split("<script>")[0])
    for asset in re.findall(r'(?:src|href)="([^"]+)"', page):
        response = await stage.http.get(asset)
        assert response.status_code == 200, asset
        assert len(response.content) > 100


async def test_names_in_the_page_of_records_are_set_as_such(stage: Stage) -> None:
    """Not between the marks they are written with."""
    page = (await stage.http.get("/asyncapi")).text
    assert "<code>resource:&lt;name&gt;</code>" in page
    assert "`" not in re.sub(r"<pre>.*?</pre>", "", page, flags=re.DOTALL)


async def test_the_record_description_has_the_topics_as_they_are(stage: Stage) -> None:
    """With the prefix of this installation."""
    described = (await stage.http.get("/asyncapi.json")).json()
    addresses = [channel["address"] for channel in described["channels"].values()]
    assert all(address.startswith(stage.settings.topic_prefix) for address in addresses)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing/here", 404), ("GET", "/docs/assets/other.js", 404), ("DELETE", "/api/processes/x/resume", 405)],
)
async def test_what_is_not_there_is_a_problem_too(stage: Stage, method: str, path: str, status: int) -> None:
    """Also for addresses and methods that nothing serves."""
    response = await stage.http.request(method, path)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert response.json()["status"] == status


async def test_metrics_and_health_are_served(stage: Stage) -> None:
    """On the gateway's own port, without /api."""
    assert "stepwire_callbacks_total" in (await stage.http.get("/metrics")).text
    assert (await stage.http.get("/health/live")).json() == {"status": "live"}
