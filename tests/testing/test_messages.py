"""What tests are told: of processes that came out otherwise, and of their own mistakes."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Generator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from stepwire import (
    FormPage,
    Retry,
    State,
    StepList,
    callback_step,
    done,
    init,
    inputstep,
    register_form,
    retrystep,
    step,
    workflow,
)
from stepwire.flow.errors import BindingError, FormInvalid
from stepwire.testing import (
    InMemory,
    Misuse,
    Refused,
    Result,
    assert_aborted,
    assert_awaiting_callback,
    assert_complete,
    assert_failed,
    assert_state,
    assert_suspended,
    assert_waiting,
    fail_step,
    post_callback,
    post_progress,
    resume_workflow,
    run_form,
    run_workflow,
    skip_step,
    skip_time,
)

Form = Generator[type[FormPage], Any, State]


class Site(FormPage):
    """Where."""

    site: str


def two_pages(reporter: str) -> Form:
    """Ask where, then who."""
    site = yield Site

    class Contact(FormPage):
        email: str
        about: str = f"{site.site} for {reporter}"

    contact = yield Contact
    return {"site": site.site, "email": contact.email}


@register_form("kit.quote")
async def quote(form_key: str, reporter: str) -> AsyncGenerator[Any, Any]:
    """Ask for a site that nothing becomes of."""
    site = yield Site
    yield {"site": site.site, "asked": [form_key, reporter]}


@step("Create the port")
def create(site: str) -> State:
    """Create it."""
    return {"port": f"xe-0 in {site}"}


@retrystep("Call the port", retry=Retry(delay_seconds=60, jitter=0, times=2))
def call() -> None:
    """Call it."""


@step("Order it")
def order(callback_route: str) -> State:
    """Order it."""
    return {"handed_out": callback_route[::-1]}


@step("Take it")
def take(callback_result: dict[str, Any]) -> State:
    """Take it."""
    return callback_result


@inputstep("Look at it", assignee="NOC")
async def look(port: str) -> Any:
    """Ask whether it is right."""

    class Right(FormPage):
        right: bool
        about: str = port

    page = yield Right
    yield {"right": page.right}


@workflow("A port", initial_input_form=two_pages)
def port() -> StepList:
    """Everything that can be waited for."""
    return init >> create >> call >> callback_step("Delivery", order, take) >> look >> done


@workflow("Another port")
def no_form() -> StepList:
    """No form."""
    return init >> call >> done


PAGES: list[dict[str, Any]] = [{"site": "ams"}, {"email": "noc@example.org"}]


def run(**failing: Exception) -> Result:
    """A run that waits for its delivery, unless a step fails."""
    return run_workflow(port, PAGES, failing={name.replace("_", " "): error for name, error in failing.items()})


def delivered() -> Result:
    """A run that waits for input."""
    return post_callback(run(), {"serial": "X1"})


STORIES: list[tuple[Callable[[], Result], Callable[[Result], None], str]] = [
    (
        lambda: run(Create_the_port=ConnectionError("nobody there")),
        assert_complete,
        r"expected completed, but workflow 'port' is failed in step 'Create the port' with 'nobody there'",
    ),
    (lambda: run(Call_the_port=ConnectionError("busy")), assert_complete, r"said 'busy' .* skip_time\(result\)"),
    (run, assert_complete, r"awaiting_callback in step 'Delivery'; post_callback\(result"),
    (delivered, assert_complete, r"suspended in step 'Look at it', which asks NOC for right, about; resume_workflow"),
    (delivered, assert_failed, r"(?s)expected failed or .*1 +Start +success.*5 +Look at it +suspend"),
    (run, assert_suspended, "expected suspended, but"),
    (run, assert_waiting, "expected waiting, but"),
    (delivered, assert_awaiting_callback, "expected awaiting_callback, but"),
    (run, assert_aborted, "expected aborted, but"),
    (run, lambda result: assert_awaiting_callback(result, "Look at it"), "in step 'Look at it', but .* 'Delivery'"),
    (
        lambda: run(Create_the_port=KeyError("a")),
        lambda result: assert_failed(result, "nobody"),
        "a failure that says 'nobody'",
    ),
    (
        run,
        lambda result: assert_state(result, {"site": "lon"}, port="xe-0 in ams", missing=1),
        r"(?s)site: expected 'lon', found 'ams'.*missing: expected 1, found '<missing>'.*awaiting_callback",
    ),
]


@pytest.mark.parametrize(("made", "asserted", "told"), STORIES, ids=range(len(STORIES)))
def test_an_assertion_tells_what_happened(
    made: Callable[[], Result], asserted: Callable[[Result], None], told: str
) -> None:
    """Where the process stands, why, what to do about it, and every step."""
    with pytest.raises(AssertionError, match=told):
        asserted(made())


def test_what_holds_is_asserted() -> None:
    """Each assertion also with the step or message it may name."""
    waiting = run(Call_the_port=ConnectionError("busy"))
    assert_waiting(waiting, "Call the port")
    skip_time(waiting)
    assert_awaiting_callback(waiting, "Delivery")
    assert_suspended(post_callback(waiting, {"serial": "X1"}), "Look at it")
    assert_complete(resume_workflow(waiting, [{"right": True}]))
    assert_state(waiting, {"serial": "X1"}, right=True)
    assert_failed(run(Delivery=ValueError("no route")), "no route")


MISTAKES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: run_workflow(create), Misuse, "create is no workflow: decorate"),  # type: ignore[arg-type] # the mistake
    (lambda: run_workflow(lambda: init >> done), Misuse, "is no workflow"),  # type: ignore[arg-type] # as above
    (lambda: run_workflow(init >> create), Misuse, "a StepList is no workflow"),  # type: ignore[arg-type] # as above
    (lambda: run_workflow("prot", engine=InMemory([port])), Refused, "no workflow 'prot': did you mean 'port'"),
    (lambda: run_workflow("port"), Refused, "give the engine some"),
    (lambda: run_workflow(port, "ams"), Misuse, "a page of a form is a dict, not str"),
    (lambda: run_workflow(port, {"site": object()}), Misuse, r"cannot be sent as JSON: page\['site'\]"),
    (lambda: run_workflow(port, site="ams"), Misuse, "no field 'site': pages of the form are given as dicts"),
    (lambda: run_workflow(port, priority="high"), Misuse, "priority of StartProcess cannot be used"),
    (lambda: run_workflow(port), Refused, "a page is missing.* asks for: site"),
    (lambda: run_workflow(port, PAGES[0]), Refused, "a page is missing.* asks for: email, about"),
    (lambda: run_workflow(port, {"site": 7}, {}), Refused, "invalid_input: site: "),
    (lambda: run_workflow(port, *PAGES, {}), Refused, "3 pages were given, the form has 2"),
    (lambda: run_workflow(no_form, {"a": 1}), Refused, "has no form"),
    (lambda: resume_workflow(run()), Refused, "is awaiting_callback and there is nothing to resume"),
    (lambda: post_callback(delivered(), {}), Refused, "is suspended and awaits no callback"),
    (lambda: post_progress(run(), 5), Misuse, "progress is text or an object, not int: post one of them"),
    (lambda: post_callback(run(), [1]), Misuse, "a callback is an object, not list"),  # type: ignore[arg-type] # the mistake
    (lambda: skip_step(run()), Refused, "only a failed step can be skipped"),
    (lambda: resume_workflow(port), Misuse, "takes what run_workflow"),  # type: ignore[arg-type] # the mistake
    (lambda: assert_complete(port), Misuse, "takes what run_workflow"),  # type: ignore[arg-type] # as above
    (lambda: skip_time(run(), -1), Misuse, "cannot be skipped by -1"),
    (lambda: fail_step(run(), "Create port"), Misuse, "no step is named 'Create port': did you mean 'Create the port'"),
    (lambda: fail_step(run(), "zzz"), Misuse, "there are 'Call the port', 'Create the port'"),
    (lambda: fail_step(run(), "Start"), Misuse, "no step is named 'Start'"),
    (lambda: fail_step(InMemory(), "Start"), Misuse, "no workflow is known yet"),
    (lambda: run_form(no_form), Misuse, "workflow 'no_form' has no form"),
    (lambda: run_form(create), Misuse, "'Create the port' is no input step"),
    (lambda: run_form(7), Misuse, "a int is no form"),
    (lambda: run_form("kit.quots"), Misuse, "no form is registered as 'kit.quots': did you mean 'kit.quote'"),
    (lambda: run_form(port, "x"), Misuse, "a page of a form is a dict"),
    (lambda: run_form(port, {"site": 7}), FormInvalid, "site: "),
    (lambda: run_form(look), BindingError, "'port'"),
    (lambda: InMemory([create]), Misuse, "is no workflow"),  # type: ignore[list-item] # the mistake
    (lambda: InMemory(port), Misuse, r"<workflow 'port'> is no list of workflows: write InMemory\(\["),  # type: ignore[arg-type] # as above
    (lambda: InMemory(subscriptions=["a port"]), Misuse, "no id of one: give UUIDs"),
    (lambda: InMemory(subscriptions=str(UUID(int=1))), Misuse, "write subscriptions="),
    (lambda: InMemory(now=datetime(2026, 1, 31)), Misuse, "is no time with a zone"),  # noqa: DTZ001 # the mistake
    (lambda: skip_time(run(), timedelta(hours=1)), Misuse, "cannot be skipped by .* give a number"),  # type: ignore[arg-type] # the mistake
    (lambda: skip_time(run(), math.inf), Misuse, "cannot be skipped by inf seconds"),
    (lambda: fail_step(run(), "Take it", "no"), Misuse, "a step cannot raise 'no': give an exception"),  # type: ignore[arg-type] # the mistake
    (lambda: fail_step(run(), "Take it", UnicodeDecodeError), Misuse, r"give UnicodeDecodeError\(\.\.\.\) itself"),
]


@pytest.mark.parametrize(("mistake", "kind", "told"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_told_in_one_sentence(mistake: Callable[[], Any], kind: type[Exception], told: str) -> None:
    """With the remedy."""
    with pytest.raises(kind, match=told) as raised:
        mistake()
    assert "\n" not in str(raised.value)


def test_two_workflows_of_one_name() -> None:
    """An engine runs the first one alone."""

    def again() -> Any:
        @workflow("A port as well")
        def port() -> StepList:
            return init >> done

        return port

    with pytest.raises(Misuse, match="runs another workflow 'port'"):
        run_workflow(again(), engine=run().engine)


def test_a_form_is_run_by_itself() -> None:
    """Page by page: what it asks next, then what it returns."""
    first = run_form(port)
    assert (first.complete, first.result, list((first.form or {})["properties"])) == (False, None, ["site"])
    second = run_form(port, PAGES[0], reporter="crm")
    assert (second.form or {})["properties"]["about"]["default"] == "ams for crm"
    for pages in (PAGES, [PAGES]):
        assert run_form(port, *pages).result == {"site": "ams", "email": "noc@example.org"}
    assert run_form(two_pages, PAGES, reporter="x", state={"reporter": "y"}).complete
    assert run_form(look, {"right": True}, port="xe-0").result == {"right": True}
    for free in ("kit.quote", quote):
        assert run_form(free, {"site": "ams"}).result == {"site": "ams", "asked": ["kit.quote", "test"]}


def test_steps_are_made_to_fail() -> None:
    """As often as is asked for, by their own name or by that of what begins with them."""
    engine = InMemory([port])
    fail_step(engine, "Call the port", ConnectionError, times=2)
    result = run_workflow("port", PAGES, engine=engine)
    for attempt in (1, 2):
        assert_waiting(result, "Call the port")
        assert result.process.attempt == attempt
        skip_time(result)
    assert_awaiting_callback(result)
    fail_step(result, "Take it")
    assert_failed(post_callback(result, {"serial": "X1"}), "step 'Take it' was made to fail")
    fail_step(result, "Look at it", LookupError("no form"))
    resume_workflow(result)
    assert_failed(post_callback(result, {"serial": "X2"}), "no form")
    assert_suspended(resume_workflow(result), "Look at it")


def test_a_result_shows_what_an_operator_sees() -> None:
    """The log, what is waited for, what was published."""
    result = run()
    assert [name for name, _ in result.steps] == ["Start", "Create the port", "Call the port", "Delivery"]
    assert result.steps[-1] == ("Delivery", "awaiting_callback")
    assert (result.waiting_on or {})["kind"] == "callback"
    assert [event.type.rpartition(".")[2] for event in result.events] == ["created", "started", "awaiting_callback"]
    post_callback(result, {"serial": "X1"}, result.engine.route(result.process_id, "4"))
    assert (result.assignee, set((result.form or {})["properties"])) == ("NOC", {"right", "about"})
    assert repr(result).startswith("<port suspended (Start: success, ")
