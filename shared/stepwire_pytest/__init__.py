"""The pytest plugin: fixtures for tests of workflows.

It is loaded in every test session of an environment that has Stepwire, so it imports nothing before a fixture is
asked for, and all its names begin with `stepwire_`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

if TYPE_CHECKING:
    from stepwire import Workflow
    from stepwire.testing import InMemory

__all__ = ["stepwire_engine", "stepwire_session", "stepwire_subscriptions", "stepwire_workflows"]


@pytest.fixture
def stepwire_workflows() -> Iterable[Workflow]:
    """The workflows that `stepwire_engine` can start by name; override it in your conftest."""
    return ()


@pytest.fixture
def stepwire_subscriptions() -> Iterable[UUID]:
    """Ids of subscriptions that exist and are in sync in `stepwire_engine`; override it."""
    return ()


@pytest.fixture
def stepwire_session() -> Any:
    """The database of the steps: an Engine, Session or sessionmaker of SQLAlchemy; override it. None only remembers."""
    return None


@pytest.fixture
def stepwire_engine(
    stepwire_workflows: Iterable[Workflow], stepwire_subscriptions: Iterable[UUID], stepwire_session: Any
) -> InMemory:
    """An engine in memory with a clock that can be skipped: `run_workflow(mine, engine=stepwire_engine)`."""
    from stepwire.testing import InMemory  # noqa: PLC0415 - see above

    return InMemory(stepwire_workflows, subscriptions=stepwire_subscriptions, session=stepwire_session)
