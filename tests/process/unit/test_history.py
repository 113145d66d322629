"""State as the log tells it: a retry begins with State as it was before what is done again."""

from __future__ import annotations

import pytest

from stepwire import begin, callback_step, step_group
from stepwire.flow.manifest import Manifest
from stepwire.flow.serialization import Delta
from stepwire.process import Status
from stepwire.process.history import History
from stepwire.process.model import numbers_of
from tests.process.kit import decided, failed_at, resume, timer
from tests.process.unit.test_groups import ANSWER, DEEP, listed, named

ANSWERED = listed(named("One"), callback_step("Answer", named("Ask"), named("Check")), named("After"))
MEMBERS = named("One") >> ANSWER >> step_group("Inner", named("Two") >> named("Three")) >> named("Four")
RESUMING = listed(named("First"), step_group("Outer", MEMBERS, retry_from="failed"), named("After"))


def state_of(manifest: Manifest | None, rows: list[tuple[str, int]], stands_at: tuple[str, int]) -> set[str]:
    """The keys of State behind rows that each set a key named by node and attempt."""
    history = History(manifest)
    for node, attempt in rows:
        history.add(node, attempt, Delta({f"{node}/{attempt}": True}))
    history.stand_at(*stands_at)
    return set(history.state)


def test_rows_are_folded_in_their_order() -> None:
    """What one sets another may change or remove."""
    history = History(ANSWERED.manifest, {"given": 1})
    history.add("1", 1, Delta({"a": 1, "b": 1}))
    history.add("2", 1, Delta({"a": 2}, ["b"]))
    assert history.state == {"given": 1, "a": 2}


def test_the_state_it_begins_with_stays_as_it_was() -> None:
    """Nothing of what is folded reaches it."""
    given = {"a": 1}
    history = History(ANSWERED.manifest, given)
    history.add("1", 1, Delta({"a": 2}))
    assert given == {"a": 1}


@pytest.mark.parametrize("manifest", [ANSWERED.manifest, None])
def test_a_callback_step_done_again_loses_what_it_had(manifest: Manifest | None) -> None:
    """Action and payload of the attempt whose validation failed do not count, even if nobody knows the manifest."""
    rows = [("1", 1), ("2", 1), ("3.1", 1), ("3", 1)]
    assert state_of(manifest, rows, ("3.2", 1)) == {"1/1", "2/1", "3.1/1", "3/1"}
    assert state_of(manifest, rows, ("3.1", 2)) == {"1/1", "2/1"}
    assert state_of(manifest, [*rows, ("3.1", 2), ("3", 2), ("3.2", 2)], ("4", 1)) == {
        *("1/1", "2/1"),
        *("3.1/2", "3/2", "3.2/2"),
    }


def test_a_group_done_again_begins_with_state_before_it() -> None:
    """Whatever its sub-steps had done."""
    rows = [("1", 1), ("2.1", 1), ("2.2.1", 1), ("2.2", 1), ("2.2.2", 1), ("2.3.1", 1)]
    assert state_of(DEEP.manifest, rows, ("2.1", 2)) == {"1/1"}


@pytest.mark.parametrize(
    ("stands_at", "lost"),
    [
        (("3.2.1", 2), {"3.2.1/1", "3.2/1", "3.2.2/1", "3.3.1/1"}),
        (("3.3.1", 2), {"3.3.1/1"}),
        (("3.4", 2), set()),
    ],
)
def test_a_group_that_goes_on_with_what_failed_keeps_what_succeeded(stands_at: tuple[str, int], lost: set[str]) -> None:
    """Only the callback step or inner group that is done again loses what it had."""
    rows = [("1", 1), ("2", 1), ("3.1", 1), ("3.2.1", 1), ("3.2", 1), ("3.2.2", 1), ("3.3.1", 1)]
    assert state_of(RESUMING.manifest, rows, stands_at) == {f"{node}/{attempt}" for node, attempt in rows} - lost


@pytest.mark.parametrize("skipped", ["3", "3.3"])
def test_a_group_skipped_in_an_attempt_of_which_nothing_is_told_keeps_what_succeeded(skipped: str) -> None:
    """What fails in the same way again adds no row: the first that is told of the attempt is the skip."""
    rows = [("1", 1), ("2", 1), ("3.1", 1), ("3.3.1", 1), (skipped, 2)]
    assert state_of(RESUMING.manifest, rows, ("3.4", 2)) == {"1/1", "2/1", "3.1/1", f"{skipped}/2"}


def test_a_later_attempt_keeps_what_earlier_ones_have_kept() -> None:
    """Attempt by attempt the group gets further."""
    rows = [("3.1", 1), ("3.2.1", 2), ("3.2", 2), ("3.2.2", 2), ("3.3.1", 3), ("3.3.1", 4)]
    kept = {"3.1/1", "3.2.1/2", "3.2/2", "3.2.2/2"}
    assert state_of(RESUMING.manifest, rows, ("3.3.2", 4)) == {*kept, "3.3.1/4"}
    assert state_of(RESUMING.manifest, rows, ("3.3.1", 5)) == kept


def test_an_attempt_of_another_node_takes_nothing_back() -> None:
    """The next node begins with attempt 1, whatever the attempt before it."""
    rows = [("2.1", 3), ("3", 1), ("3", 2)]
    assert state_of(DEEP.manifest, rows, ("3", 2)) == {"2.1/3", "3/1"} - {"3/1"} | {"3/2"}


def test_a_node_that_the_manifest_does_not_know_is_taken_as_a_whole() -> None:
    """Newer code may have gone on with it."""
    assert state_of(DEEP.manifest, [("1", 1), ("9.1", 1)], ("9.1", 2)) == {"1/1"}


def test_node_paths_sort_as_numbers() -> None:
    """Behind the ninth sub-step comes the tenth."""
    assert numbers_of("4.10") > numbers_of("4.9.3") > numbers_of("4.9") > numbers_of("4")


@pytest.mark.parametrize(
    ("workflow", "node", "undone"),
    [
        (ANSWERED, "2", None),
        (ANSWERED, "3.2", "3"),
        (DEEP, "2.3.2", "2"),
        (RESUMING, "3.1", None),
        (RESUMING, "3.2.2", "3.2"),
        (RESUMING, "3.3.1", "3.3"),
    ],
)
def test_a_retry_says_what_it_undoes(workflow: object, node: str, undone: str | None) -> None:
    """A plain step has nothing to undo: what it had changed was never recorded."""
    failed = failed_at(workflow, node)  # type: ignore[arg-type] # a workflow
    assert decided(failed, resume(failed)).undone == undone


def test_a_retry_by_timer_undoes_as_one_by_hand_does() -> None:
    """The state to begin with does not depend on who asks."""
    waiting = failed_at(DEEP, "2.3.2", status=Status.WAITING, waiting_on={"kind": "retry"})
    assert decided(waiting, timer(waiting, "retry")).undone == "2"


def test_an_empty_list_has_no_history() -> None:
    """Nothing was recorded, nothing is known."""
    assert state_of(listed(begin >> named("One")).manifest, [], ("1", 1)) == set()
