"""The table of locks: whoever asks in whatever order, one owner, an ordered line, no circle."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

import hypothesis.strategies as st
from hypothesis import given

from stepwire.process.decision import LockWish
from stepwire.process.locktable import LockTable
from tests.process.kit import OTHER, PROCESS, SUBSCRIPTION

THIRD = UUID(int=3)
KEYS = ("resource:x", "resource:y", "resource:z")
X, Y = KEYS[:2]
PROCESSES = [UUID(int=n) for n in range(1, 6)]

moves = st.lists(
    st.tuples(st.sampled_from(PROCESSES), st.sampled_from(KEYS), st.sampled_from(("take", "take", "free", "leave"))),
    max_size=60,
)


def take(key: str = X, *, holding: bool = False, in_line: bool = False) -> LockWish:
    """Somebody wants a lock and would wait for it."""
    return LockWish(take=True, resource=key, queues=True, holding=holding, in_line=in_line)


def free(key: str = X) -> LockWish:
    """Somebody gives a lock back."""
    return LockWish(take=False, resource=key)


def outcome(table: LockTable, process_id: UUID, wish: LockWish, priority: int = 0) -> str:
    """What the table says."""
    return table.decide(process_id, wish, priority).decided.outcome


def test_the_line_is_ordered_by_priority_and_then_by_age() -> None:
    """The urgent one comes before those who came first, behind its like."""
    table = LockTable(owners={X: THIRD})
    for process_id, priority in zip(PROCESSES[:2] + PROCESSES[3:], (0, 5, 0, 5), strict=True):
        assert outcome(table, process_id, take(), priority) == "queued"
    assert [w.process_id for w in table.lines[X]] == [PROCESSES[1], PROCESSES[4], PROCESSES[0], PROCESSES[3]]


def test_nobody_passes_those_who_wait() -> None:
    """Not even in the moment when nobody has the lock."""
    table = LockTable(owners={X: THIRD})
    assert outcome(table, PROCESS, take()) == "queued"
    assert outcome(table, THIRD, free()) == "done"
    late = table.decide(OTHER, LockWish(take=True, resource=X)).decided
    assert (late.outcome, late.holder) == ("held", PROCESS)
    assert list(table.ready(lambda _: True)) == [PROCESS]
    assert outcome(table, PROCESS, take(in_line=True)) == "done"
    assert (table.owners[X], table.next_of(X), list(table.ready(lambda _: True))) == (PROCESS, None, [])


def test_a_circle_of_three_is_found() -> None:
    """Each waits for the next one; the last would close it."""
    table = LockTable(owners=dict(zip(KEYS, PROCESSES, strict=False)))
    first, second, third = PROCESSES[:3]
    assert outcome(table, first, take(KEYS[1], holding=True)) == "queued"
    assert outcome(table, second, take(KEYS[2], holding=True)) == "queued"
    refused = table.decide(third, take(KEYS[0], holding=True)).decided
    assert (refused.outcome, refused.holder) == ("cycle", first)
    assert refused.cycle == ((KEYS[0], first), (KEYS[1], second), (KEYS[2], third))
    assert outcome(table, UUID(int=9), take(KEYS[0], holding=True)) == "queued"


def test_a_subscription_is_handed_on_only_in_sync() -> None:
    """Who waits for it waits for that, too."""
    wish = LockWish(take=True, subscription_id=SUBSCRIPTION, queues=True)
    table = LockTable(insync={SUBSCRIPTION: True})
    taken = table.decide(PROCESS, wish)
    assert (taken.decided.outcome, taken.changed, table.insync[SUBSCRIPTION]) == ("done", True, False)
    assert outcome(table, OTHER, wish) == "queued"
    table.release(wish.key, PROCESS)
    assert list(table.ready(lambda key: key != wish.key)) == []
    again = LockWish(take=True, subscription_id=SUBSCRIPTION, queues=True, in_line=True)
    assert outcome(table, OTHER, again) == "not_in_sync"
    assert table.next_of(wish.key) == OTHER


def test_a_row_that_somebody_else_has_is_asked_for_again() -> None:
    """Of a lock as of a subscription."""
    table = LockTable(insync={SUBSCRIPTION: True}, busy={SUBSCRIPTION}, held={X})
    assert outcome(table, PROCESS, take()) == "busy"
    assert outcome(table, PROCESS, LockWish(take=True, subscription_id=SUBSCRIPTION)) == "busy"
    assert table.owners == {}


@given(moves)
def test_whatever_is_asked_for_nobody_is_forgotten(asked: list[tuple[UUID, str, str]]) -> None:
    """At most one owner, everybody in one line at most, no circle; in the end all who wait get their lock."""
    table = LockTable()
    for process_id, key, move in asked:
        _move(table, process_id, key, move)
        waiting = Counter(w.process_id for line in table.lines.values() for w in line)
        assert set(waiting.values()) <= {1}
        assert {p: k for k, line in table.lines.items() for p in (w.process_id for w in line)} == table.waits
        assert all(_leads_out(table, process_id) for process_id in table.waits)
    while table.waits:
        served = _serve(table)
        assert served, "those who wait wait for nobody"


def _move(table: LockTable, process_id: UUID, key: str, move: str) -> None:
    """What a process does that stands in no line, or gives up its place."""
    waits = table.waits.get(process_id)
    if move == "leave" and waits is not None:
        table.leave(waits, process_id)
    elif waits is None and move == "free" and table.owners.get(key) == process_id:
        table.decide(process_id, free(key))
    elif waits is None and move == "take":
        table.decide(process_id, take(key, holding=process_id in table.owners.values()))


def _leads_out(table: LockTable, process_id: UUID) -> bool:
    """Whether somebody at the end of its chain does not wait."""
    seen = set()
    while process_id in table.waits and process_id not in seen:
        seen.add(process_id)
        key = table.waits[process_id]
        owner = table.owners.get(key)
        process_id = owner if owner is not None else table.lines[key][0].process_id
        if owner is None:
            return True
    return process_id not in table.waits


def _serve(table: LockTable) -> int:
    """Whoever does not wait gives back what it has; whose turn it is takes it."""
    for key, owner in list(table.owners.items()):
        if owner is not None and owner not in table.waits:
            table.decide(owner, free(key))
    ready = list(table.ready(lambda _: True))
    for process_id in ready:
        table.decide(process_id, take(table.waits[process_id], in_line=True))
    return len(ready)
