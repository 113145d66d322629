"""Manifests: paths, hashes, and what the coordinator reads from them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from stepwire import (
    Retry,
    Target,
    begin,
    callback_step,
    conditional,
    done,
    focussteps,
    init,
    inputstep,
    lock_subscription,
    lock_subscription_unchecked,
    no_uncompleted_instance,
    relate_subscription,
    retrystep,
    step,
    step_group,
    unlock_subscription,
    workflow,
)
from stepwire.flow.errors import UnknownNode
from stepwire.flow.lists import Step, StepList
from stepwire.flow.manifest import Manifest, ManifestNode
from stepwire.flow.types import NodeKind


@step("Reserve", queue="slow", timeout=2)
def reserve() -> None:
    """Do nothing."""


@retrystep("Call", retry=Retry(delay_seconds=0.5, on=(OSError,)))
def call() -> None:
    """Do nothing."""


@inputstep("Confirm", assignee="NOC")
def confirm() -> None:
    """Do nothing."""


ORDER = callback_step("Order", call, reserve, timeout=30)
GROUP = step_group("Group", begin >> reserve >> step_group("Inner", begin >> confirm >> ORDER))


def manifest_of(steps: StepList, **arguments: Any) -> Manifest:
    """Return the manifest of a workflow of these steps."""

    def create_node() -> StepList:
        return steps

    return workflow("Create a node", **arguments)(create_node).manifest


FULL = manifest_of(
    begin >> relate_subscription >> lock_subscription_unchecked >> reserve >> conditional(bool)(ORDER) >> GROUP,
    target=Target.MODIFY,
    queue="mine",
    initial_input_form=lambda: None,
    run_predicate=no_uncompleted_instance,
)


def test_positions_are_counted_from_one_at_every_level() -> None:
    """Start is 1; the action and the validation of a callback step are .1 and .2 of it."""
    paths = [node.path for top in FULL.nodes for node in top.walk()]
    nested = ["6", "6.1", "6.2", "6.2.1", "6.2.2", "6.2.2.1", "6.2.2.2"]
    assert paths == ["1", "2", "3", "4", "5", "5.1", "5.2", *nested, "7"]
    assert FULL.node("6.2.2.1").name == "Call"
    assert [node.kind for node in FULL.nodes] == ["start", "relate", "lock", "step", "callback", "group", "done"]


def test_nodes_say_what_the_coordinator_needs() -> None:
    """Queues are resolved, conditions, policies and keys are there."""
    assert [FULL.node(path).queue for path in ("1", "4", "5", "5.1", "5.2", "6.2.1")] == [
        *("default", "slow", "mine", "mine", "slow", "mine"),
    ]
    order = FULL.node("5")
    assert (order.conditional, order.result_key, order.callback_timeout_seconds) == (True, "callback_result", 30)
    assert FULL.node("5.1").retry == Retry(delay_seconds=0.5, on=("OSError",))
    assert FULL.node("6.2.1").assignee == "NOC"
    assert not FULL.node("3").checked
    assert FULL.node("1").is_engine
    assert not order.is_engine


def test_the_queue_of_a_group_is_that_of_its_sub_steps() -> None:
    """Unless they name their own."""
    made = manifest_of(begin >> step_group("G", call >> reserve, queue="net", timeout=9), queue="mine")
    assert [made.node(path).queue for path in ("2", "2.1", "2.2")] == ["net", "net", "slow"]
    assert made.node("2").timeout_seconds == 9


def test_a_focused_node_is_marked_down_to_its_leaves() -> None:
    """Only an executor can look through a lens."""
    made = manifest_of(begin >> focussteps("part")(GROUP) >> reserve)
    assert [made.node(path).focused for path in ("2", "2.2.2", "2.2.2.1", "3")] == [True, True, True, False]


def test_going_from_node_to_node() -> None:
    """`next` is the next top-level node, wherever beneath one the path lies; node 0 comes before Start."""
    following = {path: FULL.next(path) for path in ("0", "1", "5.1", "6.2.2.1", "7")}
    assert {path: node and node.path for path, node in following.items()} == {
        "0": "1",
        "1": "2",
        "5.1": "6",
        "6.2.2.1": "7",
        "7": None,
    }
    assert FULL.position("6.2") == 6
    assert FULL.position("0") == 0


@pytest.mark.parametrize("path", ["8", "6.3", "x", "", "-1", "01", "1.1"])
def test_a_path_that_is_not_there_is_told(path: str) -> None:
    """Never a silent other node."""
    for ask in (FULL.node, FULL.next, FULL.prefix, FULL.position):
        with pytest.raises(UnknownNode, match="create_node"):
            ask(path)


def test_a_manifest_survives_json() -> None:
    """As values, as text, as bytes; hashes and policies included."""
    written = FULL.to_json()
    text = orjson.dumps(written)
    for form in (written, text, text.decode()):
        read = Manifest.from_json(form)
        assert read.hash == FULL.hash
        assert read.chain == FULL.chain
        assert read.to_json() == written
        assert read == FULL


def test_a_manifest_keeps_the_hashes_it_was_written_with() -> None:
    """Rows of an older version stay addressed as they were; without hashes they are computed."""
    written = FULL.to_json()
    assert Manifest.from_json(written | {"hash": "old"}).hash == "old"
    del written["hash"], written["chain"]
    assert (Manifest.from_json(written).hash, Manifest.from_json(written).chain) == (FULL.hash, FULL.chain)


def test_a_timeout_is_the_same_however_it_is_written() -> None:
    """Whole or fractional, seconds are seconds."""
    whole, fraction = (manifest_of(begin >> step("S", timeout=t)(lambda: None)) for t in (2, 2.0))
    assert whole.hash == fraction.hash


def test_hashes_stay_the_same_over_versions() -> None:
    """A manifest of a year ago must still be found: these hashes may only change together with FORMAT."""
    made = manifest_of(begin >> reserve)
    assert made.chain[0] == "d7686e70f7dc43c6af0450e6861c5278aed60084af0c9b6873519ff44e637396"
    assert made.chain[3] == "7a8baf9160d29001151716a61dc54a580e40c6fbe2913a77dbfeff1f74380463"
    assert made.hash == "05e2c23f4e8a8c46b0d5f088a956d22e7ecd2fc3b25f0b7bd586a14d49b4bccb"


def test_the_prefix_covers_everything_up_to_a_node() -> None:
    """Of node 0 it is the workflow's name alone; beneath a node it is that node's."""
    assert len(FULL.chain) == len(FULL.nodes) + 1
    assert FULL.prefix("0") == FULL.chain[0]
    assert FULL.prefix("5.2") == FULL.prefix("5") == FULL.chain[5]
    assert len(set(FULL.chain)) == len(FULL.chain)


def test_appended_steps_leave_every_prefix_before_them() -> None:
    """So a waiting process executes them."""
    short, longer = manifest_of(begin >> reserve >> confirm), manifest_of(begin >> reserve >> confirm >> call)
    assert short.hash != longer.hash
    assert short.chain[:4] == longer.chain[:4]
    assert short.chain[4] != longer.chain[4]


@pytest.mark.parametrize(
    "changed",
    [
        call,
        step("Reserve")(lambda: None),
        retrystep("Reserve", queue="slow")(lambda: None),
        step("Reserve!", queue="slow")(lambda: None),
        conditional(bool)(reserve),
        focussteps("x")(reserve),
        step_group("Reserve", begin >> reserve),
        begin >> call >> reserve,
    ],
    ids=str,
)
def test_a_change_of_meaning_changes_the_prefix(changed: Step | StepList) -> None:
    """Kind, name, queue, condition, focus and order are what a position means."""
    before, after = manifest_of(begin >> reserve >> confirm), manifest_of(begin >> changed >> confirm)
    assert before.chain[1] == after.chain[1]
    assert before.chain[2] != after.chain[2]


def test_a_change_beneath_a_node_changes_its_prefix() -> None:
    """Sub-steps belong to their node."""
    one, other = (manifest_of(begin >> step_group("G", begin >> inner)) for inner in (reserve, call))
    assert one.chain[2] != other.chain[2]


def test_a_change_of_policy_changes_the_manifest_and_no_prefix() -> None:
    """A longer timeout must not strand the processes that wait behind it."""
    patient = step("Reserve", queue="slow", timeout=60, retry=Retry())(lambda: None)
    before, after = manifest_of(begin >> reserve), manifest_of(begin >> patient)
    assert before.hash != after.hash
    assert before.chain == after.chain
    callbacks = [manifest_of(begin >> callback_step("O", call, reserve, timeout=t)) for t in (1, 2)]
    assert callbacks[0].chain == callbacks[1].chain


def test_what_belongs_to_the_start_is_in_the_hash() -> None:
    """Form, predicate, authorisation, target and description are part of the manifest."""
    plain = manifest_of(begin)
    others = [
        manifest_of(begin, initial_input_form=lambda: None),
        manifest_of(begin, run_predicate=no_uncompleted_instance),
        manifest_of(begin, authorize_callback=lambda _user: True),
        manifest_of(begin, target=Target.CREATE),
    ]
    assert len({made.hash for made in (plain, *others)}) == 5
    assert len({made.chain for made in (plain, *others)}) == 1


def test_a_start_needs_a_check_only_where_an_executor_must_decide() -> None:
    """A built-in predicate is the coordinator's own affair."""
    assert not manifest_of(begin).needs_check
    builtin = manifest_of(begin, run_predicate=no_uncompleted_instance)
    assert (builtin.needs_check, builtin.has_predicate, builtin.builtin_predicate) == (
        *(False, True, "no_uncompleted_instance"),
    )
    own = manifest_of(begin, run_predicate=lambda _context: None)
    assert (own.needs_check, own.builtin_predicate) == (True, None)
    assert manifest_of(begin, initial_input_form=lambda: None).needs_check
    assert manifest_of(begin, authorize_callback=lambda _user: True).needs_check


@pytest.mark.parametrize(
    ("steps", "locks"),
    [
        (init >> lock_subscription >> done, True),
        (init >> relate_subscription >> lock_subscription >> done, True),
        (init >> relate_subscription >> lock_subscription_unchecked >> done, True),
        (init >> reserve >> lock_subscription >> done, False),
        (init >> conditional(bool)(lock_subscription) >> done, False),
        (init >> conditional(bool)(relate_subscription) >> lock_subscription >> done, False),
        (init >> unlock_subscription >> lock_subscription >> done, False),
        (init >> step_group("G", begin >> lock_subscription) >> done, False),
        (init >> reserve >> done, False),
        (init >> relate_subscription, False),
    ],
    ids=str,
)
def test_the_lock_is_taken_at_accept_only_if_nothing_of_the_authors_comes_before(
    steps: StepList, *, locks: bool
) -> None:
    """Reached from Start through the engine's own unconditional nodes."""
    assert manifest_of(steps).locks_at_accept is locks


def test_tasks_are_told_by_their_target() -> None:
    """SYSTEM and VALIDATE are tasks."""
    assert {target for target in Target if manifest_of(begin, target=target).is_task} == {
        *(Target.SYSTEM, Target.VALIDATE),
    }


def test_a_node_of_an_older_manifest_may_lack_newer_members() -> None:
    """Absent members have their defaults."""
    read = ManifestNode.from_json({"path": "2", "kind": "step", "name": "A"})
    assert read == ManifestNode("2", NodeKind.STEP, "A")
