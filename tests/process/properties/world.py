"""A world around the heart: a coordinator's transactions, Kafka, executors, an inbox, locks, time, and accidents."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from stepwire.contracts.commands import Command, ResumeProcess, StartProcess
from stepwire.contracts.steps import EngineNodeReached, RunEnded, StepProgressed, StepReported
from stepwire.flow.workflows import Workflow
from stepwire.process import Decision, Process, Status, accept_start, advance
from stepwire.process.advance import PRECEDENCE
from stepwire.process.decision import Answer, LockWish
from stepwire.process.happenings import CallbackArrived, ClaimLost, LockDecided, TimerFired
from stepwire.process.locktable import LockTable
from stepwire.process.model import order_of, parent_of, subscription_lock
from stepwire.process.starting import conceive
from tests.process.kit import NOW
from tests.process.properties.executors import Result, Run, claim
from tests.process.properties.invariants import (
    Row,
    Timers,
    check_decision,
    check_insync,
    check_locks,
    check_state,
    check_waiting,
    told,
)

RANK = {kind: rank for rank, kind in enumerate(PRECEDENCE)}
RESULTS = (StepReported, EngineNodeReached, RunEnded, StepProgressed)
Place = tuple[UUID, str, int]


@dataclass
class World:
    """Tables, topics and time; whatever is done to it, the invariants are checked."""

    now: datetime = NOW
    rows: dict[UUID, Row] = field(default_factory=dict)
    commands: dict[str, Command] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    timers: Timers = field(default_factory=dict)
    inbox: dict[Place, bool] = field(default_factory=dict)
    promised: set[Place] = field(default_factory=set)
    hashes: set[Place] = field(default_factory=set)
    insync: dict[UUID, bool] = field(default_factory=dict)
    held_rows: set[UUID] = field(default_factory=set)
    table: LockTable = field(init=False)
    left_out_of_sync: set[UUID] = field(default_factory=set)
    dispatched: list[tuple[UUID, int]] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    asides: dict[UUID, list[Result]] = field(default_factory=lambda: defaultdict(list))
    claims: dict[tuple[UUID, int], Run] = field(default_factory=dict)
    names: dict[UUID, UUID | None] = field(default_factory=dict)
    wishes: list[tuple[UUID, LockWish]] = field(default_factory=list)
    releases: list[tuple[str, UUID]] = field(default_factory=list)
    renewed: set[tuple[UUID, str]] = field(default_factory=set)
    paused: bool = False

    def __post_init__(self) -> None:
        self.table = LockTable(insync=self.insync, busy=self.held_rows)

    @property
    def locks(self) -> dict[str, UUID | None]:
        """Who owns which lock."""
        return self.table.owners

    # what others do

    def start(self, workflow: Workflow, command: StartProcess, names: UUID | None = None) -> UUID:
        """A start command; `names` is the subscription that steps of this process return."""
        self.commands[command.command_id] = command
        birth = conceive(command, workflow.manifest)
        self.rows[birth.process.id] = row = Row(birth.process)
        self.names[birth.process.id] = names
        self._take(row, command, accept_start(birth, command, self.now))
        self._settle()
        return birth.process.id

    def order(self, *orders: Command) -> None:
        """Commands about processes; one that came before is known by its id and changes nothing."""
        fresh = [order for order in orders if order.command_id not in self.commands]
        self.commands.update({order.command_id: order for order in fresh})
        self.transaction(fresh)

    def call_back(self, place: Place, *, wake: bool = True) -> bool:
        """A callback over HTTP: into the inbox if its await is not over; whether it was accepted."""
        process_id, node, attempt = place
        process = self.rows[process_id].process
        if process.finished or place in self.hashes:
            return False
        waits = process.status is Status.AWAITING_CALLBACK
        here = order_of(process.node, process.attempt)
        late = waits and process.deadline is not None and self.now > process.deadline
        if order_of(f"{node}.2", attempt) < here or late:
            return False
        if waits and order_of(f"{node}.2", attempt) == here:
            self.promised.add(place)
        self.inbox.setdefault(place, False)
        if wake:
            self.transaction([])
        return True

    def claim(self, process_id: UUID) -> Run | None:
        """An executor takes the current run of a process, if nobody has it."""
        process = self.rows[process_id].process
        place = (process_id, process.epoch)
        if not process.runnable or place in self.claims or self.paused:
            return None
        pending = self.commands.get(process.pending_command or "")
        pages = pending.user_inputs if isinstance(pending, StartProcess | ResumeProcess) else None
        self.claims[place] = run = claim(process, pages, self.names[process_id])
        return run

    def lose(self, run: Run) -> None:
        """The coordinator believes that a run is lost, rightly or not."""
        self.transaction([(run.process_id, ClaimLost(run.epoch, "executor"))])

    def fire(self, process_id: UUID, kind: str, epoch: int) -> None:
        """A timer comes due as far as a coordinator knows."""
        if kind == "callback_timeout":
            self._take_from_inbox()
        self.renewed.clear()
        self.transaction([(process_id, TimerFired(kind, epoch))])
        set_to = self.timers.get((process_id, kind))
        if set_to is not None and set_to[1] == epoch and (process_id, kind) not in self.renewed:
            del self.timers[process_id, kind]

    def hand_over(self) -> bool:
        """A sweeper finds free locks that somebody waits for; whether it found any."""
        out_of_sync = {subscription_lock(s) for s, insync in self.insync.items() if not insync}
        ready = list(self.table.ready(lambda key: key not in out_of_sync))
        for process_id in ready:
            self.transaction([(process_id, TimerFired("lock", self.rows[process_id].process.epoch))])
        return bool(ready)

    # one transaction of a coordinator

    def transaction(self, events: list[Any], *, publish: bool = True) -> None:
        """Apply a batch: ties by kind, results in the order of positions, then locks and the inbox."""
        known = len(self.dispatched)
        pairs = [e if isinstance(e, tuple) else (e.process_id, e) for e in events]
        others = [pair for pair in pairs if not isinstance(pair[1], RESULTS)]
        results = [event for _, event in pairs if isinstance(event, RESULTS)]
        early = [pair for pair in others if RANK[type(pair[1])] < RANK[StepReported]]
        self._apply_all(early)
        self._apply_results(results)
        self._take_from_inbox()
        self._apply_all(sorted((pair for pair in others if pair not in early), key=lambda pair: RANK[type(pair[1])]))
        self._settle()
        if not publish:
            del self.dispatched[known:]

    def _apply_all(self, pairs: list[tuple[UUID, Any]]) -> None:
        for process_id, event in pairs:
            self._advance(self.rows[process_id], event)

    def _apply_results(self, results: list[Result]) -> None:
        touched = {result.process_id for result in results} | set(self.asides)
        for process_id in sorted(touched):
            waiting = self.asides.pop(process_id, []) + [r for r in results if r.process_id == process_id]
            while waiting:
                ahead = [r for r in waiting if self._advance(self.rows[process_id], r).set_aside]
                if len(ahead) == len(waiting):
                    self.asides[process_id] = ahead
                    break
                waiting = ahead

    def _advance(self, row: Row, event: Any) -> Decision:
        given = vars(row.process).copy()
        decision = advance(row.process, event, self.now)
        assert vars(row.process) == given, "the process given was changed"
        self._take(row, event, decision)
        return decision

    def _take(self, row: Row, event: Any, decision: Decision) -> None:
        check_decision(row, event, decision)
        row.process = process = decision.process
        for timer in decision.timers:
            self.timers[process.id, timer.kind] = (timer.due_at, process.epoch)
            self.renewed.add((process.id, timer.kind))
        for answer in decision.answers:
            self.answers[answer.command_id].append(answer)
            assert len(self.answers[answer.command_id]) == 1, f"{answer.command_id} was answered twice"
        self.hashes |= {(process.id, e.node, e.attempt) for e in decision.entries if e.body_hash}
        self.releases += [(key, process.id) for key in decision.release]
        if decision.leave:
            self.table.leave(decision.leave, process.id)
        if decision.lock is not None:
            self.wishes.append((process.id, decision.lock))
        if decision.dispatch:
            self.dispatched.append((process.id, process.epoch))
        if decision.revoke:
            self._revoke(process)

    def _revoke(self, process: Process) -> None:
        for (process_id, epoch), run in self.claims.items():
            if process_id == process.id and epoch < process.epoch:
                run.revoked = True

    def _settle(self) -> None:
        self._settle_locks()
        self._take_from_inbox()
        self._settle_locks()
        self._release_all()
        for row in self.rows.values():
            check_waiting(row, self.timers, self.table)
            check_state(row)
        check_locks(self.rows, self.locks)
        check_insync(self.rows, self.locks, self.insync, self.left_out_of_sync)

    def _release_all(self) -> None:
        releases, self.releases = self.releases, []
        for key, owner in releases:
            self._release(key, self.rows[owner].process)

    def _release(self, key: str, process: Process) -> None:
        subscription = key.startswith("subscription:")
        if subscription and self.locks.get(key) == process.id and process.status is not Status.REJECTED:
            self.left_out_of_sync.add(UUID(key.partition(":")[2]))
        self.table.release(key, process.id)

    def _take_from_inbox(self) -> None:
        for place, applied in self.inbox.items():
            process_id, node, attempt = place
            process = self.rows[process_id].process
            here = process.status is Status.AWAITING_CALLBACK and parent_of(process.node) == node
            if here and process.attempt == attempt and not applied:
                self.inbox[place] = True
                event = CallbackArrived(node, attempt, {"serial": 1}, b"hash", "vendor", 9)
                decision = self._advance(self.rows[process_id], event)
                assert not decision.dropped, "a callback that is awaited was dropped"

    # the lock table

    def _settle_locks(self) -> None:
        while self.wishes:
            wishes, self.wishes = self.wishes, []
            self._release_all()
            for process_id, wish in sorted(wishes, key=lambda w: (w[1].key, w[1].take)):
                self._advance(self.rows[process_id], self._decide(process_id, wish))

    def _decide(self, process_id: UUID, wish: LockWish) -> LockDecided:
        decided = self.table.decide(process_id, wish, self.rows[process_id].process.priority).decided
        if decided.outcome == "done" and wish.subscription_id is not None:
            self.left_out_of_sync.discard(wish.subscription_id)
        return decided

    # the end of the world

    def run_fairly(self) -> None:
        """Deliver everything, run everything, fire everything, until nothing moves any more."""
        self.held_rows.clear()
        self.paused = False
        for _ in range(60):
            before = [row.process for row in self.rows.values()]
            self._deliver_everything()
            self._answer_callbacks()
            self._fire_everything()
            self.hand_over()
            self._run_everything()
            if before == [row.process for row in self.rows.values()] and not self.results:
                return
        restless = [told(row.process) for row in self.rows.values()]
        raise AssertionError(f"the world does not come to rest: {restless}")

    def _deliver_everything(self) -> None:
        results, self.results = self.results, []
        self.transaction(list(results))

    def _answer_callbacks(self) -> None:
        for row in self.rows.values():
            process = row.process
            if process.status is Status.AWAITING_CALLBACK:
                self.call_back((process.id, parent_of(process.node), process.attempt))

    def _fire_everything(self) -> None:
        for (process_id, kind), (due_at, epoch) in sorted(self.timers.items()):
            self.now = max(self.now, due_at)
            self.fire(process_id, kind, epoch)
        self.now += timedelta(seconds=1)

    def _run_everything(self) -> None:
        for row in self.rows.values():
            run = self.claim(row.process.id) or self.claims.get((row.process.id, row.process.epoch))
            if run is None or not row.process.runnable:
                continue
            if run.ended:
                self.lose(run)
            else:
                self.results += run.finish()
