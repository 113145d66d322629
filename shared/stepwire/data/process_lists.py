"""Lists of processes: which ones, in which order, and how many there are.

Processes that rest (everything but created and running) are found by covering indexes that are written when a process
comes to rest, so that a step of a running one costs them nothing. Those that are under way are read beside them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from stepwire.data.process_reads import BOUNDS, COLUMNS, TABLES, Row, rows_of
from stepwire.process.model import FINISHED, Status

Comparison = Literal["<", "<=", ">", ">="]

# With these very words the planner knows the partial indexes fit.
_HALVES = {
    "resting": "p.status NOT IN ('created', 'running')",
    "active": "p.status IN ('created', 'running') AND p.status NOT IN ('completed', 'aborted', 'rejected')",
}
_ACTIVE = frozenset({Status.CREATED, Status.RUNNING})
_UNFINISHED = "p.status NOT IN ('completed', 'aborted', 'rejected')"
# The time of rest is the time of the last change, and NULL in a process that is under way.
_MODIFIED = {"resting": "p.rested_at", "active": "p.last_modified_at"}

SORT_COLUMNS = {
    "process_id": "p.process_id",
    "workflow_name": "p.workflow",
    "workflow_target": "p.target",
    "is_task": "p.is_task",
    "last_status": "p.status",
    "last_step": "p.last_step",
    "assignee": "p.assignee",
    "created_by": "p.created_by",
    "reporter": "p.reporter",
    "priority": "p.priority",
    "started_at": "p.started_at",
    "last_modified_at": "p.last_modified_at",
}
TIME_COLUMNS = ("started_at", "last_modified_at")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which processes a list shows; all conditions hold at once.

    `texts` maps a column of SORT_COLUMNS to the values it may have; `times` compares one of TIME_COLUMNS;
    `id_range` are the first and last process id; `related` are subscription ids; `notes` are words that a note
    contains; `rejected` says that refused starts are shown too.
    """

    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    times: Sequence[tuple[str, Comparison, datetime]] = ()
    process_ids: Sequence[UUID] = ()
    id_range: tuple[UUID, UUID] | None = None
    related: Sequence[UUID] = ()
    is_task: bool | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    rejected: bool = False
    sort: Sequence[tuple[str, bool]] = ()
    offset: int = 0
    limit: int = 1000


# Whether an index helps depends on the values: a plan made for any of them reads the whole list for one rare label.
_PLANNED_FOR_VALUES = text("SET LOCAL plan_cache_mode = force_custom_plan")


class Totals:
    """Totals of long lists, kept for a moment: who pages through thousands, or looks again, has them counted once.

    A total under AT_LEAST is counted every time, so it is as exact as the page it comes with.
    """

    AT_LEAST = 10_000
    SECONDS = 5.0
    MOST = 1000

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[float, int]] = {}

    def find(self, conditions: str) -> int | None:
        """The total for these conditions, None where it has to be counted."""
        kept = self._kept.get(conditions)
        return kept[1] if kept is not None and self._clock() - kept[0] < self.SECONDS else None

    def keep(self, conditions: str, total: int) -> None:
        """Remember a total that was counted just now."""
        if len(self._kept) >= self.MOST:
            self._kept.clear()
        if total >= self.AT_LEAST:
            self._kept[conditions] = (self._clock(), total)


async def listing(connection: AsyncConnection, selection: Selection, totals: Totals) -> tuple[Sequence[Row], int]:
    """The processes that `selection` shows, and how many there are beyond its range.

    Nothing is counted where the page itself tells, because it holds the last of them.
    """
    query = Query(selection)
    await connection.execute(_PLANNED_FOR_VALUES)
    rows = await rows_of(connection, query.page(), query.values)
    if 0 < len(rows) < selection.limit or (selection.limit and not (rows or selection.offset)):
        return rows, selection.offset + len(rows)
    conditions = repr((query.count(), query.given))
    total = totals.find(conditions)
    if total is None:
        total = int((await connection.execute(text(query.count()), query.values)).scalar_one())
        totals.keep(conditions, total)
    return rows, total


class Query:
    """The statements for one selection, and their values."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._sort = _sort(selection)
        self.values: dict[str, Any] = {}
        self._conditions = dict(self._halves())
        self.given = dict(self.values)
        self.values |= {
            **BOUNDS,
            "row_limit": selection.limit,
            "row_offset": selection.offset,
            "row_end": selection.offset + selection.limit,
        }

    def page(self) -> str:
        """Ids in their order first: what is told about a process is looked up for those of the page alone."""
        keys = [f"k{number}" for number in range(len(self._sort))]
        order = ", ".join(f"{key} {way}" for key, (_, way) in zip(keys, self._sort, strict=True))
        halves = " UNION ALL ".join(
            f"(SELECT p.process_id, {_columns(half, self._sort, keys)} FROM stepwire_engine.processes p "  # noqa: S608 - built from constants
            f"WHERE {condition} ORDER BY {order} LIMIT :row_end)"
            for half, condition in self._conditions.items()
        )
        return (
            f"WITH page AS MATERIALIZED (SELECT * FROM ({halves}) found "  # noqa: S608 - built from constants
            f"ORDER BY {order} LIMIT :row_limit OFFSET :row_offset) "
            f"SELECT {COLUMNS} FROM page JOIN {TABLES.format(join='USING (process_id)')} ORDER BY {order}"
        )

    def count(self) -> str:
        """How many there are."""
        halves = " + ".join(
            f"(SELECT count(*) FROM stepwire_engine.processes p WHERE {condition})"  # noqa: S608 - built from constants
            for condition in self._conditions.values()
        )
        return f"SELECT {halves}"

    def _halves(self) -> Iterator[tuple[str, str]]:
        wanted = set(self._selection.texts.get("last_status", ()))
        common = [*self._common(), *([_UNFINISHED] if wanted and not wanted & FINISHED else [])]
        for half, condition in _HALVES.items():
            if wanted and not (wanted & _ACTIVE if half == "active" else wanted - _ACTIVE):
                continue
            yield half, " AND ".join([condition, *common, *self._times(half)])

    def _common(self) -> Iterator[str]:
        selection = self._selection
        yield from self._texts()
        if not selection.rejected:
            yield "p.status <> 'rejected'"
        if selection.is_task is not None:
            yield self._given("p.is_task = :is_task", is_task=selection.is_task)
        if selection.process_ids:
            ids = list(selection.process_ids)
            yield self._given("p.process_id = ANY (CAST(:process_ids AS uuid[]))", process_ids=ids)
        if selection.id_range:
            first, last = selection.id_range
            between = "p.process_id BETWEEN CAST(:first_id AS uuid) AND CAST(:last_id AS uuid)"
            yield self._given(between, first_id=first, last_id=last)
        if selection.related:
            yield self._given(_RELATED, related=list(selection.related))
        if selection.labels:
            labels = orjson.dumps(dict(selection.labels)).decode()
            yield self._given("p.labels <> '{}' AND p.labels @> CAST(CAST(:labels AS text) AS jsonb)", labels=labels)
        for number, words in enumerate(selection.notes):
            values = {f"note_{number}": words.lower()}
            yield self._given(f"p.note IS NOT NULL AND strpos(lower(p.note), :note_{number}) > 0", **values)

    def _texts(self) -> Iterator[str]:
        for name, wanted in self._selection.texts.items():
            condition = f"CAST({SORT_COLUMNS[name]} AS text) = ANY (CAST(:eq_{name} AS text[]))"
            yield self._given(condition, **{f"eq_{name}": list(wanted)})

    def _times(self, half: str) -> Iterator[str]:
        for number, (name, comparison, at) in enumerate(self._selection.times):
            condition = f"{_column(half, name)} {comparison} CAST(:at_{number} AS timestamptz)"
            yield self._given(condition, **{f"at_{number}": at})

    def _given(self, condition: str, **values: Any) -> str:
        self.values |= values
        return condition


_RELATED = """p.process_id = ANY (ARRAY(
    SELECT q.process_id FROM stepwire_engine.processes q WHERE q.subscription_id = ANY (CAST(:related AS uuid[]))
    UNION SELECT r.process_id FROM stepwire_engine.process_subscriptions r
    WHERE r.subscription_id = ANY (CAST(:related AS uuid[]))))"""


def _sort(selection: Selection) -> list[tuple[str, str]]:
    """Fields and directions; when a process began, and its id, tell equals apart, in the order of the indexes."""
    wanted = selection.sort or (("started_at", True),)
    last = "DESC" if wanted[-1][1] else "ASC"
    named = {name: "DESC" if down else "ASC" for name, down in reversed(wanted)}
    sort = [(name, named[name]) for name in dict.fromkeys(name for name, _ in wanted)]
    return [*sort, *((name, last) for name in ("started_at", "process_id") if name not in named)]


def _columns(half: str, sort: Sequence[tuple[str, str]], keys: Sequence[str]) -> str:
    return ", ".join(f"{_column(half, name)} AS {key}" for key, (name, _) in zip(keys, sort, strict=True))


def _column(half: str, name: str) -> str:
    return _MODIFIED[half] if name == "last_modified_at" else SORT_COLUMNS[name]
