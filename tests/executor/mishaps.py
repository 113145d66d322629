"""Workflows whose steps and forms meet a database in trouble."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import Any

from sqlalchemy import text

from stepwire import FormPage, State, StepList, done, init, step, workflow
from stepwire.data import db
from stepwire.flow.errors import StepwireError

tries: Counter[str] = Counter()
RAISE = "DO $$ BEGIN RAISE EXCEPTION 'as the database would' USING ERRCODE = '{code}'; END $$"
WRITE = text("INSERT INTO effects (label) VALUES ('row')")


@step("Write")
def write() -> None:
    """Open a session, and write."""
    tries["write"] += 1
    db.session.execute(WRITE)


@step("Write, async")
async def write_async() -> None:
    """The same on the loop."""
    tries["write_async"] += 1
    await db.session.execute(WRITE)


@step("Meet trouble")
def meet(code: str, times: int) -> None:
    """Write, and raise an error of the database, so many times."""
    tries[code] += 1
    db.session.execute(WRITE)
    if tries[code] <= times:
        db.session.execute(text(RAISE.format(code=code)))


class Wanted(FormPage):
    """One page."""

    product: str


def form() -> Generator[type[FormPage], Any, State]:
    """Read the database before the page is shown."""
    tries["form"] += 1
    known = db.session.execute(text("SELECT count(*) FROM effects")).scalar_one()
    page = yield Wanted
    return {**page.model_dump(), "known": known}


def wrapping_form() -> Generator[type[FormPage], Any, State]:
    """Say in words of its own that the database could not be read."""
    filled = form()
    try:
        page = next(filled)
    except StepwireError as error:
        message = "the effects could not be counted"
        raise LookupError(message) from error
    yield page
    return {}


@workflow("Writes in both ways")
def both_ways() -> StepList:
    """Two sessions."""
    return init >> write >> write_async >> done


@workflow("Meets trouble")
def troubled() -> StepList:
    """One step."""
    return init >> meet >> done


@workflow("Has a form that reads", initial_input_form=form)
def reading_form() -> StepList:
    """A form alone."""
    return init >> done


@workflow("Has a form that wraps what it meets", initial_input_form=wrapping_form)
def wrapping() -> StepList:
    """A form alone."""
    return init >> done
