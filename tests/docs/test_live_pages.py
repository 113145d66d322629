"""What README and pages say about a running Stepwire is done on one."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import httpx
import pytest

from stepwire.contracts.commands import process_id_of
from tests.docs.blocks import DOCS, Block, blocks, load
from tests.docs.conftest import Served
from tests.docs.following import Reader
from tests.docs.standins import NAMES, install
from tests.support.paths import ROOT

SECONDS = 30.0
PAUSE_SECONDS = 0.05
# Where a tool is not installed, the stand-in alone is asked.
TOOLS = ["stand-ins", *(["installed"] if all(map(shutil.which, NAMES)) else [])]


@pytest.fixture(params=TOOLS)
def reader(served: Served, request: pytest.FixtureRequest, tmp_path: Path) -> Reader:
    """Somebody who types what stands on a page."""
    tools = install(tmp_path / "tools") if request.param == "stand-ins" else None
    return Reader(tmp_path, tools, served.addresses)


def completed(served: Served, command_id: str) -> dict[str, object]:
    """State of the process that a command has started, when it has completed."""
    deadline = time.monotonic() + SECONDS
    while True:
        answer = httpx.get(f"{served.stack.gateway_url}/api/processes/{process_id_of(command_id)}", timeout=SECONDS)
        if answer.is_success and answer.json()["last_status"] == "completed":
            state: dict[str, object] = answer.json()["current_state"]
            return state
        assert time.monotonic() < deadline, answer.text
        time.sleep(PAUSE_SECONDS)


def typed(page: Path) -> list[Block]:
    """The commands of a page with their outputs."""
    return [block for block in blocks(page) if block.language == "sh" or block.title == "Output"]


def test_the_readme_starts_processes(reader: Reader, served: Served) -> None:
    """By curl and by kcat, and both are seen to complete."""
    *starting, looking = typed(ROOT / "README.md")
    for block in starting:
        reader.do(block)
    for command_id in ("order-4711", "order-4712"):
        assert str(completed(served, command_id)["announced"]).endswith("is in the DNS")
    deadline = time.monotonic() + SECONDS
    while not all(str(process_id_of(c)) in reader.said for c in ("order-4711", "order-4712")):
        assert time.monotonic() < deadline, reader.said
        reader.do(looking)


def test_the_quickstart_greets(reader: Reader, served: Served) -> None:
    """The order gets the id the page shows, and the greeting."""
    for block in typed(DOCS / "quickstart.md"):
        reader.do(block)
    assert completed(served, "greeting-1")["greeting"] == "Hello, Ada!"


def test_the_commands_of_the_client_page(reader: Reader, served: Served) -> None:
    """By curl and kcat."""
    for block in typed(DOCS / "howto" / "client.md"):
        reader.do(block)
    assert completed(served, "crm-1")
    assert completed(served, "portal-1")


def test_the_python_of_the_client_page(served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what the page shows."""
    load(DOCS / "howto" / "client.md", tmp_path, served.addresses)
    (printed,) = [block.text for block in blocks(DOCS / "howto" / "client.md") if block.title == "Printed"]
    said = capsys.readouterr().out
    assert said.startswith(printed)
    assert said.endswith("order 05: completed\n")
    assert completed(served, "batch-1")["address"] == "pe06.ams-1.example.net"


def test_the_workflows_of_the_database_page(served: Served) -> None:
    """Steps write, read, and start other processes."""
    url = f"{served.stack.gateway_url}/api/processes/create_two_ports"
    answer = httpx.post(url, json=[{"customer_id": "C-1"}], headers={"Idempotency-Key": "two-ports"}, timeout=SECONDS)
    assert answer.status_code == httpx.codes.CREATED
    started = completed(served, "two-ports")["started"]
    assert isinstance(started, list)
    deadline, counts = time.monotonic() + SECONDS, [0]
    while max(counts) < len(started):
        found = [httpx.get(f"{served.stack.gateway_url}/api/processes/{each}").json() for each in started]
        counts = [each.get("current_state", {}).get("subscriptions", 0) for each in found]
        assert time.monotonic() < deadline, found
        time.sleep(PAUSE_SECONDS)
