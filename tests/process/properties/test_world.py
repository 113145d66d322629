"""The heart in a world of accidents: whatever happens in whatever order, what must be true stays true."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any
from uuid import UUID

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stepwire.contracts.commands import AbortProcess, AddNote, Command, ResumeProcess, SkipStep, StartProcess
from stepwire.flow.types import NodeKind
from stepwire.flow.workflows import Workflow
from stepwire.process import Process, Status
from stepwire.process.happenings import CallbackProgressed, CodeGone, LockReleased, TimerFired, Unusable
from stepwire.process.holding import in_line, wanted
from stepwire.process.model import RETRYABLE, top_of
from tests.process import flows
from tests.process.kit import LOCK, OTHER, SUBSCRIPTION
from tests.process.properties.executors import INVALID, OUTCOMES, VALID, Run
from tests.process.properties.invariants import told
from tests.process.properties.world import World

EXAMPLES = int(os.environ.get("STEPWIRE_PROPERTIES_EXAMPLES", "2000"))
STEPS = int(os.environ.get("STEPWIRE_PROPERTIES_STEPS", "40"))
MOST_PROCESSES = 3

# A failure is made small before it is shown, which takes its time.
pytestmark = pytest.mark.timeout(600 + EXAMPLES)

MOST_PICKS = 7
LOCKING: tuple[Workflow, ...] = (flows.modify, flows.modify_checked, flows.validate, flows.late_lock, flows.keeping)
NAMED: tuple[Workflow, ...] = (
    flows.x_then_y,
    flows.y_then_x,
    flows.x_inside_modify,
    flows.x_again,
    flows.x_or_not,
    flows.x_in_a_group,
)
WORKFLOWS: tuple[Workflow, ...] = (
    *LOCKING,
    *NAMED,
    flows.choosing,
    flows.choosing,
    flows.unlocking,
    flows.calling,
    flows.calling,
    flows.calling_slowly,
    flows.asking,
    flows.asking,
    flows.checked,
    flows.task,
    flows.queues,
    flows.aborting,
    flows.grouped,
    flows.guarded,
    flows.guarded,
    flows.going_on,
    flows.going_on,
    flows.choosing_groups,
)
STOPPED = frozenset({*RETRYABLE, Status.SUSPENDED})
HUMAN = frozenset({Status.SUSPENDED, Status.FAILED, Status.API_UNAVAILABLE, Status.INCONSISTENT_DATA})

picks = st.integers(0, MOST_PICKS)
outcomes = st.lists(st.sampled_from(("success", "success", "success", "skip", *OUTCOMES)), min_size=1, max_size=5)
orders = st.sampled_from(("note", "resume", "skip", "abort", "resume", "note"))
ways = st.sampled_from(("all", "all", "all", "backwards", "first", "last", "again", "unpublished", "later"))
BY_NAME = {workflow.name: workflow for workflow in WORKFLOWS}
names = st.sampled_from([workflow.name for workflow in WORKFLOWS])
starts = st.tuples(names, st.sampled_from((True, True, True, False)), st.sampled_from(("reject", "queue")), picks)
accidents = st.sampled_from(
    (
        "forget",
        "lose",
        "lose",
        "fire_stale",
        "hold_row",
        "set_in_sync",
        "wait",
        "spoil",
        "lose_code",
        "pause",
        "unpause",
        "release",
    )
)


class Engine(RuleBasedStateMachine):
    """Everything that may happen to a few processes that want the same subscription."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(insync={SUBSCRIPTION: True, OTHER: True})
        self.counter = 0

    def _processes(self) -> list[Process]:
        return [row.process for row in self.world.rows.values()]

    def _pick_of(self, processes: list[Process], pick: int) -> Process | None:
        return processes[pick % len(processes)] if processes else None

    def _pick_any(self, pick: int) -> Process | None:
        """Mostly one that has not ended: nothing is to happen to the others."""
        lively = [p for p in self._processes() if not p.finished or pick == MOST_PICKS]
        return self._pick_of(lively, pick)

    def _command_id(self) -> str:
        self.counter += 1
        return f"command-{self.counter}"

    @initialize(given=st.lists(starts, min_size=1, max_size=MOST_PROCESSES - 1))
    def begin(self, given: list[tuple[str, bool, Any, int]]) -> None:
        """A world in which nothing was started has nothing to tell."""
        for one in given:
            self._start(one)

    @precondition(lambda self: sum(not p.finished for p in self._processes()) < MOST_PROCESSES)
    @rule(given=starts)
    def start(self, given: tuple[str, bool, Any, int]) -> None:
        """Somebody starts one more."""
        self._start(given)

    def _start(self, given: tuple[str, bool, Any, int]) -> None:
        name, valid, on_conflict, priority = given
        workflow = BY_NAME[name]
        creates = workflow is flows.unlocking
        command = StartProcess(
            command_id=self._command_id(),
            workflow=workflow.name,
            user_inputs=[VALID if valid else INVALID] if workflow.manifest.has_form else [],
            subscription_id=None if creates else SUBSCRIPTION,
            on_conflict=on_conflict,
            priority=priority,
        )
        self.world.start(workflow, command, SUBSCRIPTION if creates else None)

    @rule(pick=picks, outcomes=outcomes, way=ways)
    def work(self, pick: int, outcomes: list[str], way: str) -> None:
        """An executor runs ahead by a few steps and reports them."""
        self._work_on(pick, outcomes, way)

    @rule(pick=picks, outcomes=outcomes, way=ways)
    def work_on(self, pick: int, outcomes: list[str], way: str) -> None:
        """The same once more: processes must get somewhere, so that accidents happen to them everywhere."""
        self._work_on(pick, outcomes, way)

    def _work_on(self, pick: int, outcomes: list[str], way: str) -> None:
        process = self._pick_of([p for p in self._processes() if p.runnable], pick)
        if process is not None:
            self._work(self._current(process), outcomes)
            self._deliver(way)

    @precondition(lambda self: any(r.revoked and not r.ended for r in self.world.claims.values()))
    @rule(pick=picks, outcomes=outcomes)
    def work_late(self, pick: int, outcomes: list[str]) -> None:
        """An executor that was believed lost lives on and reports."""
        zombies = [r for r in self.world.claims.values() if r.revoked and not r.ended]
        self._work(zombies[pick % len(zombies)], outcomes)

    def _work(self, run: Run | None, outcomes: list[str]) -> None:
        for outcome in outcomes:
            if run is not None and not run.ended:
                self.world.results += run.step(outcome)
                if self.world.paused and not run.ended:
                    self.world.results += run.step("pause")

    def _current(self, process: Process) -> Run | None:
        return self.world.claim(process.id) or self.world.claims.get((process.id, process.epoch))

    @precondition(lambda self: self.world.results)
    @rule(way=ways)
    def deliver(self, way: str) -> None:
        """Kafka brings results: in order, in disorder, some of them, or all of them and all of them again."""
        self._deliver(way)

    def _deliver(self, way: str) -> None:
        results = self.world.results
        some = {"backwards": results[::-1], "first": results[:1], "last": results[-1:], "later": []}
        batch = list(some.get(way, results))
        if way != "again":
            self.world.results = [r for r in results if not any(r is b for b in batch)]
        self.world.transaction(list(batch), publish=way != "unpublished")

    @precondition(lambda self: self.world.timers)
    @rule(pick=picks, early=st.booleans())
    def fire(self, pick: int, *, early: bool) -> None:
        """A timer fires when it is due, or too early."""
        timers = sorted(self.world.timers.items())
        (process_id, kind), (due_at, epoch) = timers[pick % len(timers)]
        if not early:
            self.world.now = max(self.world.now, due_at)
        self.world.fire(process_id, kind, epoch)

    @rule()
    def sweep(self) -> None:
        """A coordinator looks for locks that are free and wanted."""
        self.world.hand_over()

    @precondition(lambda self: any(_callbacks(p) for p in self._processes()))
    @rule(pick=picks, again=st.integers(0, 1), wake=st.booleans(), progress=st.booleans())
    def call_back(self, pick: int, again: int, *, wake: bool, progress: bool) -> None:
        """The outside system answers: before it is awaited, while, after, and twice."""
        places = [place for p in self._processes() for place in _callbacks(p)]
        process_id, node, attempt = places[pick % len(places)]
        place = (process_id, node, max(1, attempt - again))
        if progress:
            self.world.transaction([(process_id, CallbackProgressed(node, place[2], "half"))])
        self.world.call_back(place, wake=wake)

    @precondition(lambda self: any(p.status in STOPPED for p in self._processes()))
    @rule(pick=picks, kind=st.sampled_from(("resume", "resume", "invalid", "skip")))
    def help_out(self, pick: int, kind: str) -> None:
        """Somebody gives input, retries or skips where a process has stopped; and sends it twice."""
        process = self._pick_of([p for p in self._processes() if p.status in STOPPED], pick)
        if process is not None:
            command = self._order_of(kind, process)
            self.world.order(command)
            self.world.order(command)

    @rule(pick=picks, kind=orders)
    def order(self, pick: int, kind: str) -> None:
        """Somebody asks for anything at any time."""
        process = self._pick_any(pick)
        if process is not None:
            self.world.order(self._order_of(kind, process))

    def _order_of(self, kind: str, process: Process) -> Command:
        common: dict[str, Any] = {"command_id": self._command_id(), "process_id": process.id}
        if kind in {"resume", "invalid"}:
            return ResumeProcess(**common, user_inputs=[VALID if kind == "resume" else INVALID])
        if kind == "skip":
            names = self.world.names[process.id]
            state = {"subscription_id": str(names)} if names else {}
            named = process.node if self.counter % 2 else top_of(process.node)
            return SkipStep(**common, node=named, state=state)
        return AbortProcess(**common) if kind == "abort" else AddNote(**common, note="called them")

    @rule(pick=picks, kind=orders, late=st.booleans())
    def everything_at_once(self, pick: int, kind: str, *, late: bool) -> None:
        """A command, all results, a callback and a timer meet in one batch."""
        process, world = self._pick_any(pick), self.world
        if process is None:
            return
        command = self._order_of(kind, process)
        world.commands[command.command_id] = command
        for place in _callbacks(process):
            world.call_back(place, wake=False)
        if late and process.deadline is not None:
            world.now = max(world.now, process.deadline)
        results, world.results = world.results, []
        timers = [(key[0], TimerFired(key[1], set_to[1])) for key, set_to in world.timers.items()]
        world.transaction([*timers, *results, command])

    @rule(kind=accidents, pick=picks, back=st.integers(0, 2))
    def accident(self, kind: str, pick: int, back: int) -> None:
        """What goes wrong around the engine."""
        getattr(self, f"_{kind}")(pick, back)

    def _forget(self, pick: int, _back: int) -> None:
        """Kafka loses a record."""
        if self.world.results:
            del self.world.results[pick % len(self.world.results)]

    def _release(self, pick: int, _back: int) -> None:
        """An operator takes a lock away by hand."""
        held = sorted((key, owner) for key, owner in self.world.locks.items() if owner is not None)
        if held and pick % 3 == 0:
            key, owner = held[pick % len(held)]
            self.world.transaction([(owner, LockReleased(key, "noc"))])

    def _lose(self, pick: int, back: int) -> None:
        """A run is believed lost, with or without reason, or once more after it was."""
        lively = {(p.id, p.epoch) for p in self._processes() if p.runnable}
        runs = [run for place, run in self.world.claims.items() if back == 1 or place in lively]
        if runs:
            self.world.lose(runs[pick % len(runs)])

    def _fire_stale(self, pick: int, back: int) -> None:
        """A second coordinator fires a timer that was fired before, or was never set."""
        process = self._pick_any(pick)
        kind = ("retry", "callback_timeout", "lock")[pick % 3]
        if process is not None and (back or (process.id, kind) not in self.world.timers):
            self.world.fire(process.id, kind, process.epoch - back)

    def _spoil(self, pick: int, back: int) -> None:
        """Something for a process can never be applied: a result of its run, or of one before, or anything else."""
        process = self._pick_any(pick)
        if process is not None and pick % 3 == 0:
            place = (process.node, process.attempt, process.epoch - back)
            event = Unusable("it is broken", *place) if process.runnable else Unusable("it is broken")
            self.world.transaction([(process.id, event)])

    def _lose_code(self, pick: int, back: int) -> None:
        """A coordinator finds that nobody has the code of a process, in this epoch or in one before."""
        process = self._pick_any(pick)
        if process is not None and pick % 5 == 0:
            self.world.transaction([(process.id, CodeGone(process.epoch - back, "its code is gone"))])

    def _hold_row(self, _pick: int, back: int) -> None:
        """A step's transaction takes the row of the subscription, or lets it go."""
        (self.world.held_rows.discard if back == 1 else self.world.held_rows.add)(SUBSCRIPTION)

    def _pause(self, _pick: int, _back: int) -> None:
        """Nothing new is claimed, and whoever runs stops before its next node."""
        self.world.paused = True

    def _unpause(self, _pick: int, _back: int) -> None:
        """On it goes."""
        self.world.paused = False

    def _set_in_sync(self, _pick: int, _back: int) -> None:
        """An operator brings the subscription back, if nobody works on it."""
        if self.world.locks.get(LOCK) is None:
            self.world.insync[SUBSCRIPTION] = True
            self.world.left_out_of_sync.discard(SUBSCRIPTION)

    def _wait(self, pick: int, _back: int) -> None:
        """Time passes."""
        self.world.now += timedelta(seconds=20 * pick)

    @invariant()
    def answered_or_pending(self) -> None:
        """Every command has its answer, or a process that owes it."""
        owed = {p.pending_command for p in self._processes()}
        assert {c for c in self.world.commands if c not in self.world.answers} == owed - {None}

    def teardown(self) -> None:
        """In a fair world everything comes to an end, but for what waits for a human; and then that, too."""
        self.world.run_fairly()
        stuck = [told(p) for p in self._processes() if not p.finished and not self._waits_for_a_human(p)]
        assert not stuck, f"{stuck} wait for nobody and do not go on"
        for _ in range(2 * len(self.world.rows) + 2):
            self._help_everybody()
            self.world.run_fairly()
        left = [told(p) for p in self._processes() if not p.finished]
        assert not left, f"{left} never end, whatever humans do"
        self._account()

    def _waits_for_a_human(self, process: Process) -> bool:
        """Itself, or whoever has the lock that it stands in line for; in a circle nobody does."""
        seen = set()
        while process.status not in HUMAN:
            owner = self.world.locks.get(wanted(process))
            if not in_line(process) or process.id in seen or owner is None:
                return in_line(process) and wanted(process) == LOCK and owner is None
            seen.add(process.id)
            process = self.world.rows[owner].process
        return True

    def _help_everybody(self) -> None:
        self._set_in_sync(0, 0)
        for process in self._processes():
            if process.status in HUMAN:
                self._set_in_sync(0, 0)
                # Who waits for the other, or would have to, is told: trying again is no way out.
                turns = any(words in (process.failed_reason or "") for words in ("never end", "when it is free"))
                self.world.order(self._order_of("abort" if turns else "resume", process))

    def _account(self) -> None:
        world = self.world
        assert world.answers.keys() == world.commands.keys(), "a command was never answered"
        assert not any(world.locks.values()), "a lock was left behind"
        for place in world.promised:
            ended = world.rows[place[0]].process.status is Status.ABORTED
            assert ended or world.inbox[place], "an accepted callback was lost"
        for row in world.rows.values():
            done = row.process.status is not Status.COMPLETED or row.completed == len(row.process.manifest.nodes)
            assert done, "a node was left out"


def _callbacks(process: Process) -> list[tuple[UUID, str, int]]:
    nodes = [node.path for top in process.manifest.nodes for node in top.walk() if node.kind is NodeKind.CALLBACK]
    here = top_of(process.node)
    return [(process.id, node, process.attempt if top_of(node) == here else 1) for node in nodes]


TestEngine = Engine.TestCase
TestEngine.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
