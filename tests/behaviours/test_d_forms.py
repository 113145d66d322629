"""D. Forms, 31 and 32: page by page over HTTP, all pages at once by Kafka."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from stepwire.contracts.commands import process_id_of
from tests.behaviours.doors import HttpDoor, KafkaDoor, Live
from tests.behaviours.driver import Driver, FormDriver, Page, Refused

SITE: Page = {"site": "ams", "ports": 4}
CONTACT: Page = {"email": "noc@example.org"}
INVALID: list[tuple[list[Page], list[Any], str]] = [
    ([{"site": "ams", "ports": 49}], ["ports"], "less_than_equal"),
    ([{"site": "ams", "ports": "many"}], ["ports"], "int_parsing"),
    ([{"site": "ams"}], ["ports"], "missing"),
    ([{**SITE, "colour": "red"}], ["colour"], "extra_forbidden"),
    ([SITE, {"email": 7}], ["email"], "string_type"),
    ([SITE, CONTACT, {}], ["__root__"], "too_many_pages"),
]


def refusal(driver: Driver, workflow: str, *pages: Page, **options: Any) -> Refused:
    """How a start is refused."""
    with pytest.raises(Refused) as refused:
        driver.start(workflow, *pages, **options)
    return refused.value


def count(live: Live) -> int:
    """How many processes there are that have not been rejected."""
    found: int = live.sql("SELECT count(*) FROM stepwire_engine.processes WHERE status <> 'rejected'")[0][0]
    return found


def test_d31_too_few_pages_are_answered_with_the_next(http: HttpDoor, live: Live) -> None:
    """510 with its JSON schema, which may depend on the pages before and on the context of the start."""
    before = count(live)
    first = refusal(http, "d31_two_pages")
    assert (first.status, set((first.form or {})["properties"])) == (510, {"site", "ports"})
    second = refusal(http, "d31_two_pages", SITE, reporter="crm")
    properties = (second.form or {})["properties"]
    assert (second.status, set(properties)) == (510, {"email", "context"})
    assert properties["context"]["default"] == "d31_two_pages by crm in ams"
    assert count(live) == before
    process_id = http.start("d31_two_pages", SITE, CONTACT, reporter="crm")
    state = http.wait(process_id, "completed").state
    assert {**SITE, **CONTACT, "context": "d31_two_pages by crm in ams"}.items() <= state.items()


@pytest.mark.parametrize(("pages", "loc", "kind"), INVALID)
def test_d31_invalid_pages_are_refused(http: HttpDoor, live: Live, pages: list[Page], loc: Any, kind: str) -> None:
    """400 with loc, msg and type of each error; no process is visible and nothing has run."""
    before = count(live)
    refused = refusal(http, "d31_two_pages", *pages)
    assert (refused.status, refused.reason) == (400, "invalid_input")
    assert [(error["loc"], error["type"]) for error in refused.errors] == [(loc, kind)]
    assert refused.errors[0]["msg"]
    assert count(live) == before


@pytest.mark.parametrize("pages", [(), ({},)])
def test_d31_without_a_form_no_page_is_wanted(driver: Driver, pages: tuple[Page, ...]) -> None:
    """None at all and one empty page mean the same."""
    driver.wait(driver.start("d31_no_form", *pages), "completed")


def test_d31_without_a_form_a_page_is_refused(driver: Driver) -> None:
    """What nobody asked for is invalid input."""
    assert refusal(driver, "d31_no_form", {"a": 1}).reason == "invalid_input"


@pytest.mark.parametrize("workflow", ["d31_one_page", "d31_async"])
def test_d31_a_form_may_be_a_function_or_async(driver: Driver, workflow: str) -> None:
    """A function that returns one class, or an async generator that yields its result last."""
    assert driver.wait(driver.start(workflow, SITE), "completed").state["ports"] == 4
    assert refusal(driver, workflow, {"site": "ams", "ports": 0}).errors[0]["loc"] == ["ports"]


def test_d31_a_form_may_read_the_database(door: HttpDoor | KafkaDoor, live: Live) -> None:
    """What it shows is what is there when it is asked."""
    live.sql("INSERT INTO subscriptions (status) VALUES ('active')")
    there = live.sql("SELECT count(*) FROM subscriptions")[0][0]
    assert door.wait(door.start("d31_reads", {}), "completed").state["subscriptions"] == there


def test_d31_a_form_on_resume_sees_state(http: HttpDoor) -> None:
    """Page by page as at the start; what is not complete or not valid changes nothing."""
    process_id = http.start("d31_resumed")
    seen = http.wait(process_id, "suspended")
    assert (seen.form or {})["properties"]["offered"]["default"] == ["xe-0", "xe-1"]
    with pytest.raises(Refused) as refused:
        http.resume(process_id, {"port": "xe-1"})
    form: dict[str, Any] = refused.value.form or {}
    assert (refused.value.status, form["properties"]["about"]["default"]) == (510, "xe-1")
    with pytest.raises(Refused) as refused:
        http.resume(process_id, {"port": "xe-1"}, {"sure": "perhaps"})
    assert (refused.value.status, refused.value.errors[0]["loc"]) == (400, ["sure"])
    assert http.wait(process_id).outcomes == seen.outcomes
    http.resume(process_id, {"port": "xe-1"}, {"sure": True})
    assert http.wait(process_id, "completed").state["chosen"] == "xe-1"


def test_d31_a_form_that_breaks_starts_nothing(door: HttpDoor | KafkaDoor, live: Live) -> None:
    """Its sender is told what it raised."""
    before = count(live)
    assert "the form is broken" in refusal(door, "d31_broken", SITE).detail
    assert count(live) == before


def refused_form(asking: FormDriver, key: str, *pages: Page) -> Refused:
    """How the pages of a form that starts nothing are refused."""
    with pytest.raises(Refused) as refused:
        asking.fill_form(key, *pages, reporter="crm")
    return refused.value


def test_d31_a_form_by_itself_is_asked_page_by_page(asking: FormDriver) -> None:
    """Too few pages are answered with the next, a complete form with what it returns."""
    first = refused_form(asking, "d31_free")
    assert (first.reason, set((first.form or {})["properties"])) == ("form_incomplete", {"site", "ports"})
    second = refused_form(asking, "d31_free", SITE)
    context = (second.form or {})["properties"]["context"]["default"]
    assert (second.reason, context) == ("form_incomplete", "d31_free by crm in ams")
    filled = asking.fill_form("d31_free", SITE, CONTACT, reporter="crm")
    assert filled == {**SITE, **CONTACT, "context": "d31_free by crm in ams"}


@pytest.mark.parametrize(("pages", "loc", "kind"), INVALID)
def test_d31_invalid_pages_of_a_form_by_itself(asking: FormDriver, pages: list[Page], loc: Any, kind: str) -> None:
    """They are refused as those of a start."""
    refused = refused_form(asking, "d31_free", *pages)
    errors = [(error["loc"], error["type"]) for error in refused.errors]
    assert (refused.reason, errors) == ("invalid_input", [(loc, kind)])


@pytest.mark.parametrize("key", ["d31_free_one", "d31_free_async"])
def test_d31_a_form_by_itself_may_be_a_function_or_async(asking: FormDriver, key: str) -> None:
    """As that of a start."""
    assert asking.fill_form(key, SITE, reporter="crm") == SITE


def test_d31_a_form_that_is_not_registered(asking: FormDriver) -> None:
    """It is unknown, also where a workflow has that name."""
    assert refused_form(asking, "d31_two_pages", SITE).reason == "unknown_form"


def test_d31_a_form_by_itself_starts_nothing(http: HttpDoor, live: Live) -> None:
    """Whatever becomes of it; it may read the database as it is when it is asked."""
    before = count(live)
    live.sql("INSERT INTO subscriptions (status) VALUES ('active')")
    there = live.sql("SELECT count(*) FROM subscriptions")[0][0]
    assert http.fill_form("d31_free_reads", {}, reporter="crm") == {"subscriptions": there}
    broken = refused_form(http, "d31_free_broken", SITE)
    assert (broken.status, "the form is broken" in broken.detail) == (500, True)
    assert count(live) == before


def test_d32_a_start_by_kafka_carries_all_pages(all_at_once: Driver) -> None:
    """They are checked as over HTTP."""
    state = all_at_once.wait(all_at_once.start("d31_two_pages", SITE, CONTACT), "completed").state
    assert (state["email"], state["said"]) == ("noc@example.org", ["after"])


@pytest.mark.parametrize(("pages", "loc", "kind"), INVALID)
def test_d32_invalid_pages_are_answered_with_the_same_errors(
    all_at_once: Driver, pages: list[Page], loc: Any, kind: str
) -> None:
    """`command.rejected`, and no process is visible."""
    command_id = f"invalid-{uuid4()}"
    refused = refusal(all_at_once, "d31_two_pages", *pages, command_id=command_id)
    assert refused.reason == "invalid_input"
    assert [(error["loc"], error["type"]) for error in refused.errors] == [(loc, kind)]
    assert all_at_once.wait(process_id_of(command_id)).status == "rejected"


def test_d32_a_missing_page_is_invalid(all_at_once: Driver) -> None:
    """Nobody can be asked for the next one."""
    refused = refusal(all_at_once, "d31_two_pages", SITE)
    assert (refused.reason, "page" in refused.detail) == ("invalid_input", True)


def test_d32_invalid_input_by_kafka_is_rejected(all_at_once: Driver) -> None:
    """The process waits on, unchanged."""
    process_id = all_at_once.start("d31_resumed")
    seen = all_at_once.wait(process_id, "suspended")
    for pages in ([{"port": 7}, {"sure": True}], [{"port": "xe-0"}], []):
        with pytest.raises(Refused) as refused:
            all_at_once.resume(process_id, *pages)
        assert refused.value.reason == "invalid_input"
        assert all_at_once.wait(process_id, "suspended").outcomes == seen.outcomes
    all_at_once.resume(process_id, {"port": "xe-0"}, {"sure": False})
    all_at_once.wait(process_id, "completed")
