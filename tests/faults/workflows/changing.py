"""Workflows whose code changes: what an executor serves depends on its environment."""

from __future__ import annotations

import os

from stepwire import StepList, done, init, workflow
from tests.faults.workflows.flows import vendor
from tests.faults.workflows.steps import write

VERSION = "STEPWIRE_FAULTS_VERSION"
NEW = os.environ.get(VERSION) == "2"
OLD_EFFECTS = ("before", "answered", "after")


@workflow("A step is inserted before the callback")
def inserted() -> StepList:
    """Its new version does more before it waits."""
    steps = init >> write("before")
    return (steps >> write("between") if NEW else steps) >> vendor >> write("after") >> done


@workflow("A step before the callback is removed")
def removed() -> StepList:
    """Its new version does less before it waits."""
    return (init if NEW else init >> write("before")) >> vendor >> write("after") >> done


@workflow("A step before the callback has a new name")
def renamed() -> StepList:
    """Its new version does something else, as far as anybody can tell."""
    return init >> write("earlier" if NEW else "before") >> vendor >> write("after") >> done


@workflow("A step behind the callback is added")
def appended() -> StepList:
    """Its new version does the same up to where processes wait."""
    steps = init >> write("before") >> vendor >> write("after")
    return (steps >> write("at last") if NEW else steps) >> done


NEW_EFFECTS = {
    "inserted": ("before", "between", "answered", "after"),
    "removed": ("answered", "after"),
    "renamed": ("earlier", "answered", "after"),
    "appended": ("before", "answered", "after", "at last"),
}
