"""The invariants, counted by SQL over everything a database has seen."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

Sql = Callable[..., list[tuple[Any, ...]]]

COMPLETIONS = frozenset({"success", "skipped", "complete"})
LOG = """
SELECT process_id, seq, node, attempt, epoch, status FROM stepwire_engine.process_steps ORDER BY process_id, seq
"""
PROCESSES = "SELECT process_id, status, log_seq FROM stepwire_engine.processes WHERE status <> 'rejected'"
EFFECTS = "SELECT process_id, effect, count(*) FROM fault_effects WHERE process_id = ANY(%s) GROUP BY 1, 2"
LOCKED = """
SELECT p.process_id, p.status, l.key FROM stepwire_engine.processes AS p
LEFT JOIN stepwire_engine.locks AS l ON l.owner = p.process_id
WHERE p.status IN ('completed', 'aborted', 'rejected') AND (l.key IS NOT NULL OR p.held_locks <> '{}')
"""
OUT_OF_SYNC = """
SELECT s.subscription_id FROM public.subscriptions AS s
WHERE NOT s.insync AND EXISTS (
    SELECT FROM stepwire_engine.processes AS p
    WHERE p.subscription_id = s.subscription_id AND p.status = 'completed')
AND NOT EXISTS (
    SELECT FROM stepwire_engine.processes AS p
    WHERE p.subscription_id = s.subscription_id AND p.status NOT IN ('completed', 'rejected'))
"""


class Line(NamedTuple):
    """A line of a step log."""

    seq: int
    node: str
    attempt: int
    epoch: int
    status: str

    @property
    def top(self) -> int:
        """The node among those of the workflow itself."""
        return int(self.node.partition(".")[0])


def assert_chain(sql: Sql) -> None:
    """I3: every step log is one chain, and that of a completed process has all of its nodes."""
    logs: dict[UUID, list[Line]] = defaultdict(list)
    for process_id, *line in sql(LOG):
        logs[process_id].append(Line(*line))
    broken = [
        f"{process_id}: {problem}"
        for process_id, status, log_seq in sql(PROCESSES)
        for problem in problems_of(logs[process_id], status, log_seq)
    ]
    assert not broken, "\n".join(broken)


def problems_of(log: Sequence[Line], status: str, log_seq: int) -> list[str]:
    """What is wrong with one step log."""
    return [
        problem for problem in (_gap(log, log_seq), _repetition(log), _disorder(log), _hole(log, status)) if problem
    ]


def _gap(log: Sequence[Line], log_seq: int) -> str | None:
    numbers = [line.seq for line in log]
    wanted = list(range(1, log_seq + 1))
    return None if numbers == wanted else f"the log has the lines {numbers} instead of {wanted}"


def _repetition(log: Sequence[Line]) -> str | None:
    done = Counter(line.node for line in log if line.status in COMPLETIONS)
    twice = [node for node, times in done.items() if times > 1]
    return f"the nodes {twice} were completed more than once" if twice else None


def _disorder(log: Sequence[Line]) -> str | None:
    places = [(line.top, line.attempt, line.epoch) for line in log if line.status not in ("abort", "failed")]
    tops, epochs = [place[:2] for place in places], [place[2] for place in places]
    fine = tops == sorted(tops) and epochs == sorted(epochs)
    return None if fine else f"the log goes backwards: {places}"


def _hole(log: Sequence[Line], status: str) -> str | None:
    if status != "completed":
        return None
    # Node 0 is the check before the start; not every workflow has one.
    done = {line.top for line in log if line.status in COMPLETIONS} - {0}
    wanted = set(range(1, max(done, default=0) + 1))
    return None if done == wanted else f"completed, but the nodes {sorted(wanted - done)} are not"


def assert_effects_once(sql: Sql, process_ids: Iterable[UUID], effects: Iterable[str]) -> None:
    """I2: each of these processes has had each of these effects once, and no other."""
    ids, names = list(process_ids), list(effects)
    assert ids, "no processes, no proof"
    found = effects_of(sql, ids)
    wanted = {(process_id, name): 1 for process_id in ids for name in names}
    wrong = {
        f"{process_id} {name}": f"{found.get((process_id, name), 0)} times"
        for process_id, name in {**wanted, **found}
        if found.get((process_id, name), 0) != wanted.get((process_id, name), 0)
    }
    assert not wrong, wrong


def effects_of(sql: Sql, process_ids: Iterable[UUID]) -> Mapping[tuple[UUID, str], int]:
    """How often each of these processes has had each effect."""
    return {(process_id, name): times for process_id, name, times in sql(EFFECTS, list(process_ids))}


def assert_no_locks(sql: Sql) -> None:
    """I4: no finished process holds a lock, and what completed processes worked on is in sync."""
    assert sql(LOCKED) == []
    assert sql(OUT_OF_SYNC) == []
