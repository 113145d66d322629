"""Counts what really happened, in the database and outside, against what the orders call for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

DATABASE_EFFECTS = ("subscription created", "address reserved", "node activated")
OUTSIDE_EFFECTS = ("/inventory", "/installations", "/monitoring")

EFFECTS_SQL = "SELECT process_id::text, effect FROM node_effects"
NODES_SQL = "SELECT node_name, 'in service' FROM nodes WHERE activated_at IS NOT NULL AND address IS NOT NULL"
SUBSCRIPTIONS_SQL = """
    SELECT split_part(description, ' ', -1), status || CASE WHEN insync THEN ', in sync' ELSE '' END
    FROM subscriptions
"""
STEPS_SQL = """
    SELECT process_id::text, node FROM stepwire_engine.process_steps
    WHERE status IN ('success', 'complete', 'skipped')
"""
GAPS_SQL = """
    SELECT process_id::text FROM stepwire_engine.process_steps
    GROUP BY process_id HAVING min(seq) <> 1 OR max(seq) <> count(*)
"""

Pair = tuple[str, str]


@dataclass(frozen=True)
class Proof:
    """One thing that was counted: `missing` should be there and is not, `extra` is there too often or unasked for."""

    title: str
    expected: int
    found: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether everything happened exactly once."""
        return not self.missing and not self.extra


def exactly_once(title: str, subjects: Iterable[str], effects: Sequence[str], found: Iterable[Pair]) -> Proof:
    """Each effect is there once for each of the subjects, and nothing else."""
    return as_called_for(title, ((subject, effect) for subject in subjects for effect in effects), found)


def as_called_for(title: str, called_for: Iterable[Pair], found: Iterable[Pair]) -> Proof:
    """Exactly these pairs of subject and effect are there, each as often as it is called for."""
    wanted, counted = Counter(called_for), Counter(found)
    return Proof(
        title,
        wanted.total(),
        counted.total(),
        tuple(f"{effect}: {subject}" for subject, effect in sorted((wanted - counted).elements())),
        tuple(f"{effect}: {subject}" for subject, effect in sorted((counted - wanted).elements())),
    )


def no_repetition(title: str, found: Iterable[Pair]) -> Proof:
    """Every pair may be there, none twice."""
    counted = Counter(found)
    twice = tuple(f"{effect}: {subject}" for (subject, effect), times in sorted(counted.items()) if times > 1)
    return Proof(title, len(counted), counted.total(), (), twice)


def outside_effects(log: Iterable[dict[str, Any]]) -> list[Pair]:
    """Return what the outside system has really done, by node; repeated and refused requests changed nothing."""
    return [
        (entry["node_name"], entry["route"])
        for entry in log
        if entry["route"] in OUTSIDE_EFFECTS and entry["outcome"] == "done"
    ]


def requests_by_outcome(log: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Return how many requests the outside system answered in which way."""
    return dict(sorted(Counter(entry["outcome"] for entry in log).items()))
