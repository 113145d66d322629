"""Sections D and F: forms, and what may refuse a start."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import text

from stepwire import (
    FormPage,
    PredicateContext,
    RunPredicateFail,
    RunPredicatePass,
    State,
    StepList,
    Target,
    done,
    init,
    inputstep,
    no_uncompleted_instance,
    register_form,
    workflow,
)
from stepwire.data import db
from tests.behaviours.workflows.tools import put, say

FormGenerator = Generator[type[FormPage], Any, State]


class Site(FormPage):
    """The first page."""

    site: str
    ports: Annotated[int, Field(ge=1, le=48)]


def two_pages(workflow_name: str, reporter: str) -> FormGenerator:
    """Ask in two pages; the second depends on the first and on the context."""
    site = yield Site

    class Contact(FormPage):
        email: str
        context: str = f"{workflow_name} by {reporter} in {site.site}"

    contact = yield Contact
    return {**site.model_dump(), **contact.model_dump()}


@workflow("Two pages", initial_input_form=two_pages)
def d31_two_pages() -> StepList:
    """Runs when both are valid."""
    return init >> say("after") >> done


def one_page() -> type[FormPage]:
    """Ask in one page."""
    return Site


@workflow("One page", initial_input_form=one_page)
def d31_one_page() -> StepList:
    """A function that returns a class."""
    return init >> say("after") >> done


@register_form("d31_free")
def free(form_key: str, reporter: str) -> FormGenerator:
    """Ask in two pages for nothing but the answers."""
    site = yield Site

    class Contact(FormPage):
        email: str
        context: str = f"{form_key} by {reporter} in {site.site}"

    contact = yield Contact
    return {**site.model_dump(), **contact.model_dump()}


async def async_pages() -> AsyncGenerator[type[FormPage] | State, Any]:
    """Ask asynchronously."""
    site = yield Site
    yield site.model_dump()


register_form("d31_free_async", async_pages)
register_form("d31_free_one", one_page)


@workflow("An async form", initial_input_form=async_pages)
def d31_async() -> StepList:
    """An async generator."""
    return init >> say("after") >> done


def reading() -> FormGenerator:
    """Read the database."""
    count = db.session.execute(text("SELECT count(*) FROM subscriptions")).scalar_one()

    class Counted(FormPage):
        subscriptions: int = count

    page = yield Counted
    return {"subscriptions": page.subscriptions}


register_form("d31_free_reads", reading)


@workflow("A form that reads", initial_input_form=reading)
def d31_reads() -> StepList:
    """Reads."""
    return init >> say("after") >> done


@inputstep("Choose a port", assignee="NOC")
def choose(ports: list[str]) -> FormGenerator:
    """Offer what State has, then ask again."""

    class Choose(FormPage):
        port: str
        offered: list[str] = ports

    chosen = yield Choose

    class Sure(FormPage):
        sure: bool
        about: str = chosen.port

    sure = yield Sure
    return {"chosen": chosen.port, "sure": sure.sure}


@workflow("Two pages in the middle")
def d31_resumed() -> StepList:
    """A form that sees State."""
    return init >> put(ports=["xe-0", "xe-1"]) >> choose >> say("after") >> done


@workflow("No form")
def d31_no_form() -> StepList:
    """No pages."""
    return init >> say("after") >> done


def broken() -> FormGenerator:
    """Break."""
    yield Site
    raise RuntimeError("the form is broken")


register_form("d31_free_broken", broken)


@workflow("A broken form", initial_input_form=broken)
def d31_broken() -> StepList:
    """Never starts."""
    return init >> say("never") >> done


def only_ams(context: PredicateContext) -> RunPredicateFail | RunPredicatePass:
    """Let the site ams start only."""
    site = context.state.get("site")
    return RunPredicatePass() if site == "ams" else RunPredicateFail(f"{context.workflow_key} does not run in {site}")


@workflow("Starts in one site only", initial_input_form=one_page, run_predicate=only_ams)
def f35_predicate() -> StepList:
    """Refused elsewhere."""
    return init >> say("after") >> done


async def never(context: PredicateContext) -> RunPredicateFail:
    """Refuse."""
    return RunPredicateFail(f"not for {context.reporter}")


@workflow("Never starts", run_predicate=never)
def f35_never() -> StepList:
    """Refused, without a form."""
    return init >> say("never") >> done


@inputstep("Hold", assignee="NOC")
def hold(state: State) -> FormGenerator:
    """Stay unfinished."""

    class Hold(FormPage):
        keys: int = len(state)

    yield Hold
    return {}


@workflow("One at a time", run_predicate=no_uncompleted_instance, target=Target.SYSTEM)
def f35_single() -> StepList:
    """Refused while another one is not finished."""
    return init >> hold >> done


def only_jane(user: Any) -> bool:
    """Let jane only."""
    return bool(user == "jane")


@inputstep("Only jane may answer", assignee="NOC", resume_auth_callback=only_jane)
def only_jane_answers(state: State) -> FormGenerator:
    """Ask jane."""

    class Answer(FormPage):
        keys: int = len(state)

    yield Answer
    return {"answered": True}


@workflow("Jane starts it", authorize_callback=only_jane)
def f35_authorized() -> StepList:
    """Nobody else may."""
    return init >> only_jane_answers >> done
