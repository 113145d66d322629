"""F. Start conditions, 35 and 36, and who may start and answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from stepwire.contracts.commands import process_id_of
from tests.behaviours.doors import HttpDoor, KafkaDoor, Live
from tests.behaviours.driver import Driver, Page, Refused

SITE: Page = {"site": "ams", "ports": 4}


def refusal(driver: Driver, workflow: str, *pages: Page, **options: Any) -> Refused:
    """How a start is refused."""
    with pytest.raises(Refused) as refused:
        driver.start(workflow, *pages, **options)
    return refused.value


def test_f35_a_predicate_refuses_with_its_message(driver: Driver) -> None:
    """412 or rejected; it has seen what the form returned."""
    refused = refusal(driver, "f35_predicate", {"site": "lon", "ports": 4})
    assert (refused.reason, refused.detail) == ("predicate_failed", "f35_predicate does not run in lon")
    assert refused.status in (412, None)
    assert driver.wait(driver.start("f35_predicate", SITE), "completed").state["site"] == "ams"


def test_f35_an_async_predicate_without_a_form(driver: Driver) -> None:
    """It knows who asks."""
    refused = refusal(driver, "f35_never", reporter="crm")
    assert (refused.reason, refused.detail) == ("predicate_failed", "not for crm")


def test_f35_nothing_is_visible_of_a_refused_start(door: HttpDoor | KafkaDoor, live: Live) -> None:
    """No list shows it, and nothing of it has run."""
    command_id = f"refused-{uuid4()}"
    refusal(door, "f35_never", command_id=command_id)
    process_id = process_id_of(command_id)
    listed = live.request("GET", f"/api/processes/?filter=process_id,{process_id}").json()
    logged = live.sql("SELECT count(*) FROM stepwire_engine.process_steps WHERE process_id = %s", process_id)
    assert (listed, logged) == ([], [(0,)])


def test_f35_one_uncompleted_instance(door: HttpDoor | KafkaDoor) -> None:
    """While one is not finished no other starts, however many ask at once; an aborted one is finished."""

    def start(_: int) -> object:
        try:
            return door.start("f35_single")
        except Refused as refused:
            return refused.reason

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(start, range(4)))
    started = [answer for answer in answers if answer != "predicate_failed"]
    assert len(started) == 1
    process_id = door.wait(started[0], "suspended").process_id  # type: ignore[arg-type] # the one that is no word
    assert refusal(door, "f35_single").reason == "predicate_failed"
    door.abort(process_id)
    second = door.start("f35_single")
    door.wait(second, "suspended")
    door.resume(second, {})
    door.wait(second, "completed")


def test_f35_one_after_the_other(driver: Driver) -> None:
    """A second one is refused until the first has ended."""
    first = driver.start("f35_single")
    driver.wait(first, "suspended")
    assert refusal(driver, "f35_single").reason == "predicate_failed"
    driver.resume(first, {})
    driver.wait(first, "completed")
    second = driver.start("f35_single")
    driver.wait(second, "suspended")
    driver.abort(second)
    driver.wait(second, "aborted")


@pytest.mark.parametrize("workflow", ["no_such_workflow", "no such workflow", "x" * 200])
def test_f36_an_unknown_workflow_is_refused(driver: Driver, workflow: str) -> None:
    """404 or rejected, with its name."""
    refused = refusal(driver, workflow)
    assert (refused.reason, workflow[:20] in refused.detail) == ("unknown_workflow", True)
    assert refused.status in (404, None)


def test_f_who_may_start_and_answer(driver: Driver) -> None:
    """Authorisation is asked at the start, and by the input step; it is 403 or rejected."""
    refused = refusal(driver, "f35_authorized", reporter="joe")
    assert (refused.reason, refused.status in (403, None)) == ("not_allowed", True)
    process_id = driver.start("f35_authorized", reporter="jane")
    driver.wait(process_id, "suspended")
    with pytest.raises(Refused) as not_allowed:
        driver.resume(process_id, {}, user="joe")
    assert not_allowed.value.reason == "not_allowed"
    driver.resume(process_id, {}, user="jane")
    assert driver.wait(process_id, "completed").state["answered"] is True
