"""Running one step."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NoReturn, Self
from uuid import UUID

import pytest

from stepwire import (
    ApiUnavailable,
    GiveUp,
    InconsistentData,
    Retry,
    RetryLater,
    State,
    Step,
    abort,
    begin,
    callback_step,
    conditional,
    focussteps,
    init,
    inputstep,
    retrystep,
    step,
    step_group,
    steplens,
    workflow,
)
from stepwire.flow.errors import BindingError, SerializationError, StepwireError
from stepwire.flow.outcomes import MAX_MESSAGE, MAX_TRACEBACK, step_error
from stepwire.flow.runner import (
    CallbackRoute,
    StepOutcome,
    call_async,
    call_sync,
    callback_result,
    check_condition,
    conclude,
    conclude_error,
    is_async,
    resume_input,
    run,
    run_async,
    suspend,
)
from stepwire.flow.serialization import Delta, fold

ROUTE = CallbackRoute("http://gw/api/processes/1/callback/s3cr3t-t0ken", "s3cr3t-t0ken")


def returning(value: Any, name: str = "Return") -> Step:
    """Return a step that returns `value`."""
    return step(name)(lambda: value)


def raising(exc: BaseException, decorator: Callable[[Any], Step] | None = None) -> Step:
    """Return a step that raises `exc`."""

    def fail() -> NoReturn:
        raise exc

    return (decorator or step("Fail"))(fail)


def test_a_result_is_laid_over_state_and_only_the_difference_is_kept() -> None:
    """What was the same already is not in the delta."""
    outcome = run(returning({"a": 1, "b": {"c": 2}, "d": None}), {"a": 1, "b": {"c": 1}, "x": 0})
    assert outcome == StepOutcome("success", Delta({"b": {"c": 2}, "d": None}))


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_step_may_change_nothing(nothing: Any) -> None:
    """None and the empty dict are successes."""
    assert run(returning(nothing), {"a": 1}) == StepOutcome("success")


@pytest.mark.parametrize("wrong", [1, "text", [("a", 1)], True, (), object()])
def test_anything_else_fails_the_step(wrong: Any) -> None:
    """The message names step, function and type."""
    outcome = run(returning(wrong), {})
    assert (outcome.status, outcome.delta.empty) == ("failed", True)
    assert outcome.error is not None
    assert f"returned a {type(wrong).__name__}: return a dict" in outcome.error.message
    assert "'Return'" in outcome.error.message


def test_the_next_step_sees_what_another_process_would_see() -> None:
    """Values are JSON after a step, whatever it returned."""
    identifier = UUID("11111111-2222-3333-4444-555555555555")
    outcome = run(returning({"id": identifier, "many": (1, {2})}), {})
    assert fold({}, outcome.delta) == {"id": str(identifier), "many": [1, [2]]}


UNSTORABLE = {"nan": {"a": [float("nan")]}, "nul": {"a": {"b": ["\0"]}}, "key": {"a": {1: 1}}, "lambda": {"a": len}}


@pytest.mark.parametrize("value", UNSTORABLE.values(), ids=UNSTORABLE)
def test_what_cannot_be_stored_fails_the_step_with_the_key(value: Any) -> None:
    """It fails even a step that is retried by itself: returned again it would be no better."""
    outcome = run(retrystep("Return")(lambda: value), {})
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error.class_name.endswith("SerializationError")
    assert outcome.error.message.startswith("state['a']")


def test_a_failed_step_leaves_nothing_behind() -> None:
    """State injected in place is a copy, and a failure has no delta."""

    def spoil(state: State, things: list[int]) -> NoReturn:
        state["things"] = None
        things.append(2)
        raise RuntimeError

    state = {"things": [1]}
    outcome = run(step("Spoil")(spoil), state)
    assert (outcome.status, outcome.delta.empty, state) == ("failed", True, {"things": [1]})


async def test_async_steps_run_as_sync_ones_do() -> None:
    """Bound, awaited and concluded alike."""

    @step("Add")
    async def add(x: int) -> dict[str, int]:
        return {"x": x + 1}

    assert is_async(add)
    assert await call_async(add, {"x": "1"}) == {"x": 2}
    assert (await run_async(add, {"x": 1})).delta.set == {"x": 2}
    assert (await run_async(returning({"y": 1}), {})).delta.set == {"y": 1}
    assert (await run_async(raising(ValueError("no")), {})).status == "failed"


async def test_models_may_load_themselves_asynchronously() -> None:
    """A loader that returns an awaitable is awaited, one by one in lists."""

    class Model:
        def __init__(self, value: int) -> None:
            self.value = value

        @classmethod
        async def __load_from_state__(cls, value: int, _variants: tuple[type, ...]) -> Self:
            return cls(value)

    async def use(model, models, plain: list[int]) -> dict[str, Any]:  # type: ignore[no-untyped-def]  # noqa: ANN001 - annotated below, the class is local
        return {"sum": model.value + sum(m.value for m in models) + sum(plain)}

    use.__annotations__ |= {"model": Model, "models": list[Model]}
    outcome = await run_async(step("Use")(use), {"model": 1, "models": [2, 3], "plain": [4]})
    assert outcome.delta.set == {"sum": 10}


def test_an_async_step_called_as_a_sync_one_fails_and_says_why() -> None:
    """No coroutine is left behind unawaited."""

    @step("Async")
    async def wait() -> None: ...

    outcome = run(wait, {})
    assert outcome.error is not None
    assert "returned a coroutine" in outcome.error.message


def test_a_missing_key_fails_the_step() -> None:
    """With key and function."""

    @step("Need")
    def need(prefix: str) -> None: ...

    outcome = run(need, {})
    assert outcome.error is not None
    assert outcome.error.class_name == f"{BindingError.__module__}.BindingError"
    assert "'prefix'" in outcome.error.message


def test_a_node_without_a_function_cannot_be_run() -> None:
    """Groups and nodes of the engine are told from steps."""
    with pytest.raises(StepwireError, match="no function to run"):
        call_sync(init[0], {})
    assert run(step_group("G", begin >> returning(None)), {}).status == "failed"


def test_abort_aborts() -> None:
    """A node that ends the workflow."""
    assert conclude(abort[0], {}, None).status == "abort"


# Failures


def test_a_failure_says_what_happened() -> None:
    """Class, message, details, and the author's own frames."""

    class RefusedError(Exception):
        details = {"code": 4, "who": UUID(int=1)}  # noqa: RUF012 - as authors write it

    outcome = run(raising(RefusedError("no prefix left")), {})
    assert outcome.status == "failed"
    error = outcome.error
    assert error is not None
    assert error.class_name == f"{__name__}.{RefusedError.__qualname__}"
    assert (error.message, error.details) == ("no prefix left", {"code": 4, "who": str(UUID(int=1))})
    assert "in fail" in error.traceback
    assert "flow/runner.py" not in error.traceback
    assert error.to_json()["message"] == "no prefix left"


class UnprintableError(Exception):
    """An exception whose text cannot be made."""

    def __str__(self) -> str:
        raise KeyError


NASTY: dict[str, tuple[BaseException, str]] = {
    "no text": (ValueError(), "ValueError"),
    "nul": (ValueError("a\0b"), "a\\x00b"),
    "surrogate": (ValueError("\ud800"), "\\ud800"),
    "unprintable": (UnprintableError(), "UnprintableError, whose text cannot be made: KeyError"),
    "exit": (SystemExit(3), "3"),
}


@pytest.mark.parametrize(("exc", "message"), NASTY.values(), ids=NASTY)
def test_every_exception_can_be_stored(exc: BaseException, message: str) -> None:
    """Whatever an author raises, its text can go into the database."""
    error = conclude_error(raising(exc), exc).error
    assert error is not None
    assert error.message == message
    assert "\0" not in error.traceback
    error.traceback.encode()


def test_long_texts_are_cut_in_the_middle() -> None:
    """Beginning and end tell most."""
    exc = ValueError("begin" + "x" * 200_000 + "end")
    error = conclude_error(raising(exc), exc).error
    assert error is not None
    assert len(error.message) <= MAX_MESSAGE
    assert len(error.traceback) <= MAX_TRACEBACK
    assert error.message.startswith("begin")
    assert error.message.endswith("end")
    assert "characters left out" in error.message


def test_details_that_cannot_be_stored_say_so() -> None:
    """They do not hide the error itself."""
    exc = ValueError("no")
    exc.details = {"f": len}  # type: ignore[attr-defined]
    error = conclude_error(raising(exc), exc).error
    assert error is not None
    assert error.message == "no"
    assert error.details.startswith("details['f']: is a builtin_function")


@pytest.mark.parametrize(
    ("exc", "status"),
    [(ApiUnavailable("a"), "api_unavailable"), (InconsistentData("b"), "inconsistent_data"), (ValueError(), None)],
)
def test_the_type_of_an_exception_decides_what_a_task_becomes(exc: Exception, status: str | None) -> None:
    """Subclasses too."""
    assert run(raising(exc), {}).process_status == status
    kind = type("Mine", (type(exc),), {})
    assert run(raising(kind("x")), {}).process_status == status


# Retries


def test_a_retrystep_waits_with_its_policy_or_the_default() -> None:
    """Its own policy wins over that of the settings; a plain step has none."""
    exc = ValueError("down")
    default = Retry(delay_seconds=7, jitter=0)
    own = Retry(delay_seconds=3, jitter=0, times=1)
    plain, bare = step("S")(lambda: None), retrystep("R")(lambda: None)
    assert conclude_error(plain, exc, default_retry=default).status == "failed"
    waiting = conclude_error(bare, exc, default_retry=default)
    assert (waiting.status, waiting.retry_after_seconds) == ("waiting", 7)
    assert waiting.error is not None
    policied = step("S", retry=own)(lambda: None)
    assert conclude_error(policied, exc, 1, default_retry=default).retry_after_seconds == 3
    assert conclude_error(policied, exc, 2, default_retry=default).status == "failed"
    unset = conclude_error(bare, exc, rng=random.Random(1))  # noqa: S311 - spreads retries, hides nothing
    assert 48 <= (unset.retry_after_seconds or 0) <= 72


def test_the_exception_may_decide_about_its_retry() -> None:
    """RetryLater sets the pause, also in a plain step; GiveUp ends the retries."""
    later, give_up = RetryLater(5, "busy"), GiveUp("no such node")
    plain, again = step("S")(lambda: None), retrystep("R")(lambda: None)
    for made in (plain, again):
        outcome = conclude_error(made, later)
        assert (outcome.status, outcome.retry_after_seconds) == ("waiting", 5)
        ended = conclude_error(made, give_up)
        assert (ended.status, ended.give_up) == ("failed", True)
    limited = retrystep("R", retry=Retry(times=1))(lambda: None)
    assert conclude_error(limited, later, 2).status == "failed"


# Conditions and lenses


def test_a_false_condition_skips_and_leaves_state_alone() -> None:
    """It is asked with the state as of then."""
    guarded = conditional(lambda state: state["go"])(returning({"a": 1}))[0]
    assert run(guarded, {"go": False}) == StepOutcome("skipped")
    assert run(guarded, {"go": True}).delta.set == {"a": 1}
    assert check_condition(returning(None), {})


def test_a_raising_condition_fails_the_step() -> None:
    """A retry asks again."""
    guarded = conditional(lambda state: state["go"])(returning({"a": 1}))[0]
    outcome = run(guarded, {})
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error.class_name == "KeyError"


def test_a_condition_that_turns_out_async_fails_the_step() -> None:
    """A coroutine is always true, so it would never skip."""

    async def later(_state: State) -> bool:
        return False

    outcome = run(conditional(lambda state: later(state))(returning(None))[0], {})  # noqa: PLW0108 - hides that it is async
    assert outcome.error is not None
    assert "write it as a plain function" in outcome.error.message


async def test_a_skipped_async_step_is_skipped() -> None:
    """The condition is asked before anything is awaited."""

    async def never() -> NoReturn:
        raise AssertionError

    guarded = conditional(lambda _state: False)(step("Never")(never))[0]
    assert await run_async(guarded, {}) == StepOutcome("skipped")


def test_conditions_cannot_change_state() -> None:
    """They look at a copy."""
    state = {"things": [1]}
    guarded = conditional(lambda s: s["things"].pop())(returning(None))[0]
    assert check_condition(guarded, state)
    assert state == {"things": [1]}


def test_every_condition_around_a_step_must_hold() -> None:
    """Nested conditions are asked from the outside in."""
    asked: list[str] = []

    def ask(name: str, *, answer: bool) -> Callable[[State], bool]:
        def predicate(_state: State) -> bool:
            asked.append(name)
            return answer

        return predicate

    inner = conditional(ask("inner", answer=True))(returning(None))
    assert not check_condition(conditional(ask("outer", answer=False))(inner)[0], {})
    assert check_condition(conditional(ask("again", answer=True))(inner)[0], {})
    assert asked == ["outer", "again", "inner"]


def test_a_focused_step_works_on_its_part() -> None:
    """What it returns goes into the part; an absent part is empty."""

    @step("Add")
    def add(x: int = 0) -> dict[str, int]:
        return {"x": x + 1}

    focused = focussteps("part")(add)[0]
    assert run(focused, {"part": {"x": 1, "y": 2}, "x": 9}).delta.set == {"part": {"x": 2, "y": 2}}
    assert run(focused, {}).delta.set == {"part": {"x": 1}}
    nested = focussteps("outer")(focussteps("inner")(add))[0]
    assert run(nested, {"outer": {"a": 1}}).delta.set == {"outer": {"a": 1, "inner": {"x": 1}}}
    wrong = run(focused, {"part": 3})
    assert wrong.error is not None
    assert "needs an object under state['part']" in wrong.error.message


@pytest.mark.parametrize("curried", [False, True])
def test_a_lens_of_the_authors_reads_and_writes_where_it_likes(*, curried: bool) -> None:
    """Keys it leaves out are removed; `set` may be curried."""

    def put(state: State, part: State) -> State:
        return {**{k: v for k, v in state.items() if k != "old"}, "new": part["x"]}

    setter: Callable[..., Any] = (lambda state: lambda part: put(state, part)) if curried else put
    lensed = steplens(lambda state: {"x": state["old"]}, setter)(returning({"x": 5}))[0]
    assert run(lensed, {"old": 1, "keep": 2}).delta == Delta({"new": 5}, ["old"])


def test_a_lens_that_returns_no_object_fails_the_step() -> None:
    """On the way in and on the way out."""
    for lensed in (
        steplens(lambda _state: 3, lambda state, _part: state)(step("S")(lambda state: state)),
        steplens(lambda state: state, lambda _state, _part: None)(returning({"a": 1})),
        steplens(lambda state: state, lambda state, _part: {**state, "f": len})(returning({"a": 1})),
    ):
        outcome = run(lensed[0], {"a": 0})
        assert outcome.status == "failed"
        assert outcome.error is not None
        assert outcome.error.class_name.startswith("stepwire.flow.errors.")


def test_conditions_and_lenses_see_what_is_outside_them() -> None:
    """A condition outside a lens sees State, inside it the part."""
    outside = conditional(lambda state: "part" in state)(focussteps("part")(returning({"a": 1})))[0]
    inside = focussteps("part")(conditional(lambda state: "part" not in state)(returning({"a": 1})))[0]
    assert check_condition(outside, {"part": {}})
    assert check_condition(inside, {"part": {}})
    assert not check_condition(outside, {})


# Callbacks


def _callback(action: Callable[..., Any], **arguments: Any) -> tuple[Step, Step, Step]:
    made = callback_step("Order", step("Act")(action), step("Check")(lambda: None), **arguments)
    wrapped = workflow("W")(lambda: begin >> made)
    return wrapped.step_at("2"), wrapped.step_at("2.1"), wrapped.step_at("2.2")


def test_an_action_sees_its_route_and_nothing_of_it_is_stored() -> None:
    """Neither the route nor the token, wherever the author puts them, keys included."""

    def act(callback_route: str, state: State) -> dict[str, Any]:
        assert callback_route == state["callback_route"] == ROUTE.route
        token = callback_route.rpartition("/")[2]
        return {**state, "log": [f"posted {callback_route}", {"t": token}], token: 1, "url": callback_route}

    _, action, _ = _callback(act)
    outcome = run(action, {"a": 1}, callback=ROUTE)
    assert outcome.status == "awaiting_callback"
    assert outcome.delta.set == {
        "log": ["posted <callback route>", {"t": "<callback route>"}],
        "<callback route>": 1,
        "url": "<callback route>",
    }
    assert ROUTE.token not in repr(outcome) + repr(ROUTE)


def test_a_failing_action_does_not_tell_the_token() -> None:
    """Neither message nor details nor traceback."""

    def act(callback_route: str) -> NoReturn:
        exc = ValueError(f"POST {callback_route} refused")
        exc.details = {"url": callback_route}  # type: ignore[attr-defined]
        raise exc

    _, action, _ = _callback(act)
    outcome = run(action, {}, callback=ROUTE)
    assert outcome.error is not None
    assert outcome.error.message == "POST <callback route> refused"
    assert outcome.error.details == {"url": "<callback route>"}
    assert ROUTE.token not in repr(outcome)


def test_an_action_that_returns_what_cannot_be_stored_does_not_tell_the_token() -> None:
    """The error of the conversion is cleaned as well."""
    _, action, _ = _callback(lambda callback_route: {callback_route: {1}, "f": {callback_route: len}})
    outcome = run(action, {}, callback=ROUTE)
    assert outcome.status == "failed"
    assert ROUTE.token not in repr(outcome)


def test_keys_of_route_and_result_can_be_chosen() -> None:
    """The action finds the route, the validation the payload, where the author said."""
    node, action, check = _callback(lambda url: {"seen": len(url)}, callback_route_key="url", result_key="answer")
    assert run(action, {}, callback=ROUTE).delta.set == {"seen": len(ROUTE.route)}
    assert callback_result(node, {"ok": True}) == Delta({"answer": {"ok": True}})
    assert run(check, {"answer": {"ok": True}}).status == "success"


def test_a_payload_under_a_lens_goes_into_the_part() -> None:
    """There State is needed to place it."""
    node = focussteps("part")(_callback(lambda: None)[0])[0]
    assert callback_result(node, {"ok": 1}, {"part": {"a": 1}}).set == {"part": {"a": 1, "callback_result": {"ok": 1}}}


def test_a_payload_that_cannot_be_stored_is_refused() -> None:
    """It comes from outside."""
    with pytest.raises(SerializationError, match="NUL"):
        callback_result(_callback(lambda: None)[0], {"a": "\0"})
    with pytest.raises(StepwireError, match="awaits no callback"):
        callback_result(returning(None), {})


# Input steps are tested with the forms; here only that others are told apart


def test_a_step_that_is_no_form_takes_no_input() -> None:
    """And an input step suspends instead of running."""
    with pytest.raises(StepwireError, match="takes no input"):
        suspend(returning(None), {})
    with pytest.raises(StepwireError, match="takes no input"):
        resume_input(returning(None), {}, [])
    outcome = run(inputstep("Ask", "NOC")(lambda: int), {})
    assert outcome.status == "failed"


def test_a_route_in_a_message_that_is_cut_is_replaced_before() -> None:
    """Half of a token would not be known as one, and would be kept."""
    around = "x" * (MAX_MESSAGE // 2 - 40)
    for shift in range(80):
        told = step_error(ValueError(f"{around}{'y' * shift}{ROUTE.token}{around}{'z' * 80}"), ROUTE)
        assert not any(ROUTE.token[:4] in text or ROUTE.token[-5:] in text for text in (told.message, told.traceback))
