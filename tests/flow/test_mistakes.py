"""Whatever an author gets wrong in a definition is told at import: the file, the line, and what to do."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from stepwire.flow import free_forms
from stepwire.flow.errors import DefinitionError

HEAD = """
from enum import Enum
from stepwire import *
from stepwire import FormPage

@step("Work")
def work(state): return {}

def plain(state): return {}

async def later(state): return True

def form(): yield FormPage

@workflow("Whole")
def whole(): return work

class Thing: ...
"""
ONE_LINERS = {
    "a plain function in a list": ("steps = work >> plain", "decorate the function with @step"),
    "a plain function in front": ("steps = plain >> work", "decorate the function with @step"),
    "a list of steps": ("steps = init >> [work, work]", "join steps by >>"),
    "nothing in a list": ("steps = init >> None >> done", "write the name of the step without calling it"),
    "a set of steps": ("steps = init >> {work} >> done", "join steps by >>"),
    "the name of a step": ('steps = init >> "work"', "write the step itself, without quotes"),
    "a workflow in a list": ("steps = init >> whole", "a workflow is started by itself"),
    "a step that is called": ("steps = init >> work({}) >> done", "write the name of the step without calling it"),
    "a decorator that waits for its function": ('steps = init >> step("Do")', "it waits to be called"),
    "a condition that waits for its steps": ("steps = init >> conditional(bool)", "it waits to be called"),
    "a name that is none": ("step(3)", 'write @step("what it does")'),
    "an input step without a name": ("inputstep(None)", 'write @inputstep("what it does")'),
    "a group without a name": ("step_group(work, work)", 'write step_group("what it does", ...)'),
    "a step's argument that there is none of": ('step("Do", retires=3)', "did you mean retry=?"),
    "half of an argument's name": ('callback_step("Call", action=work)', "did you mean action_step=?"),
    "an argument nobody knows": ('step(description="Do")', "it takes name, queue, timeout, retry, retry_auth_callback"),
    "a retried step's argument": ('retrystep("Do", time_out=3)', "did you mean timeout=?"),
    "an input step's argument": ('inputstep("Ask", asignee="NOC")', "did you mean assignee=?"),
    "a group's argument": ('step_group("All", work, retry_form="failed")', "did you mean retry_from=?"),
    "a condition's argument": ("conditional(predicat=bool)", "did you mean predicate=?"),
    "a lens's argument": ("steplens(getter=bool, set=plain)", "did you mean get=?"),
    "a focus's argument": ('focussteps(keys="a")', "did you mean key=?"),
    "a lock's argument": ('with_lock("ams", on_conflct="reject")', "did you mean on_conflict=?"),
    "a workflow's argument": ('workflow("W", targt=Target.CREATE)', "did you mean target=?"),
    "a policy's argument": ("Retry(delay=5)", "did you mean delay_seconds=?"),
    "a status's argument": ('set_status(state="active")', "did you mean status=?"),
    "a registered form's argument": ('register_form("key", gen=plain)', "did you mean generator=?"),
    "a step without anything": ("step()", 'write @step("what it does")'),
    "a step with two names": ('step("Do", name="Do")', 'write @step("what it does")'),
    "a step with a policy by place": ('step("Do", Retry())', 'write @step("what it does")'),
    "a group of two arguments": (
        'step_group("All", work, work)',
        'step_group("what it does", one >> two)',
    ),
    "a condition with its steps": ("conditional(bool, work)", "write conditional(predicate)(steps)"),
    "a condition around steps side by side": ("conditional(bool)(work, work)", "join the steps by >>"),
    "half a lens": ("steplens(plain)", "write steplens(get, set)(steps)"),
    "a lock with its steps": ('with_lock("ams", work)', 'write with_lock("vlan-pool:ams")(steps)'),
    "a lock around steps side by side": ('with_lock("ams")(work, work)', "join the steps by >>"),
    "too much of a policy": ("Retry(1, 2, 3, 4, 0.5, (), (), 8)", "write Retry(delay_seconds=..., times=...)"),
    "no status": ("set_status()", 'write set_status("active")'),
    "a form without anything": ("register_form()", 'write @register_form("key")'),
    "a name that cannot be stored": ('step("\\ud800")', "write what it does in a sentence"),
    "a key that cannot be stored": ('focussteps("\\ud800")', "give the key as a text"),
    "an assignee that cannot be stored": ('inputstep("Ask", assignee="\\ud800")', "give a text or an Enum of texts"),
    "a description that cannot be stored": ('workflow("a\\0b")', "write what it does in a sentence"),
    "a workflow as a step": ('step("Do")(whole)', "give it a function"),
    "a workflow of a workflow": ('workflow("W")(whole)', "give it a function"),
    "a workflow as a start form": ('workflow("W", initial_input_form=whole)', "give it a function"),
    "a start form that is called": (
        'workflow("W", initial_input_form=form())',
        "give it the function without calling it",
    ),
    "a method of a class": ('step("Do")(classmethod(plain))', "give it a function"),
    "a lock that is a list": ('with_lock(["ams"])', "give it a name"),
    "an empty name": ('step("")', "write what it does in a sentence"),
    "a class as a step": ('step("Do")(Thing)', "decorate a function"),
    "a step of a step": ('step("Do")(work)', "give it a function"),
    "a queue that is no text": ('step("Do", queue=7)', "use up to 100 letters"),
    "a queue no topic is named after": ('step_group("Do", work, queue="a b")', "use up to 100 letters"),
    "a timeout that is no time": ('retrystep("Do", timeout="soon")', "give seconds"),
    "a policy that is none": ('step("Do", retry=3)', "give Retry("),
    "a negative number of retries": ("Retry(times=-1)", "give a whole number of at least 0, or None"),
    "half a retry": ("Retry(times=1.5)", "give a whole number of at least 0, or None"),
    "a negative pause": ("Retry(delay_seconds=-1)", "give seconds of at least 0"),
    "a shrinking factor": ("Retry(factor=0.5)", "give a number of at least 1"),
    "a longest pause of no number": ('Retry(max_delay_seconds="1h")', "give seconds of at least 0"),
    "too much jitter": ("Retry(jitter=20)", "give a part between 0 and 1"),
    "an exception that is none": ("Retry(on=5)", "name exception classes"),
    "an exception instead of its class": ("Retry(give_up_on=ValueError())", "name exception classes"),
    "who may retry is no function": ('step("Do", retry_auth_callback="jane")', "give a function of the user"),
    "who may answer is no function": ('inputstep("Ask", resume_auth_callback=Thing)', "give a function of the user"),
    "an assignee that names nobody": ('inputstep("Ask", assignee=5)', "give a text or an Enum of texts"),
    "a form that is no form": ('inputstep("Ask")(Thing)', "give a subclass of FormPage"),
    "a form that is a step": ('inputstep("Ask")(work)', "give it a function"),
    "a callback step without steps": ('callback_step("Call")', "give two steps: the action, then the validation"),
    "a callback step without validation": ('callback_step("Call", work)', "give two steps"),
    "an action that is a list": ('callback_step("Call", work >> work, work)', "give one step"),
    "a conditional action": ('callback_step("Call", conditional(bool)(work), work)', "put the condition around"),
    "an action of another kind": ('callback_step("Call", done, work)', "make it with @step or @retrystep"),
    "a result key that is none": ('callback_step("Call", work, work, result_key="")', "give the key as a text"),
    "one key for route and result": (
        'callback_step("Call", work, work, result_key="x", callback_route_key="x")',
        "give them different keys",
    ),
    "a callback timeout of no time": ('callback_step("Call", work, work, timeout=0)', "give seconds"),
    "progress that extends nothing": (
        'callback_step("Call", work, work, extended_by_progress=True)',
        "give timeout=, in seconds",
    ),
    "a group of nothing": ('step_group("All", begin)', "give it the steps between Start and Done"),
    "a group with an end": ('step_group("All", work >> done)', "give it the steps between Start and Done"),
    "a group of functions": ('step_group("All", plain)', "decorate the function with @step"),
    "an unknown place to retry from": ('step_group("All", work, retry_from="last")', 'use "first" or "failed"'),
    "a condition that is none": ("conditional(True)(work)", "give it a function"),
    "a condition of two things": ("conditional(lambda one, two: True)(work)", "let it take State and nothing else"),
    "a lens without State": ("steplens(lambda: {}, plain)(work)", "let it take State and nothing else"),
    "a condition that is async": ("conditional(later)(work)", "write it as a plain function of State"),
    "a condition around a function": ("conditional(bool)(plain)", "decorate the function with @step"),
    "a lens without a key": ('focussteps("")(work)', "give the key as a text"),
    "a status nobody knows": ("set_status('Active')", "give one of initial, provisioning, active"),
    "a lens on no text": ("focussteps(None)(work)", "give the key as a text"),
    "a lens that gets nothing": ('steplens("part", plain)(work)', "give it a function"),
    "a lens that is async": ("steplens(plain, later)(work)", "write it as a plain function of State"),
    "a lens that puts nothing back": ("steplens(plain, lambda: {})(work)", "let it take these two"),
    "a lens of three things": ("steplens(plain, lambda one, two, three: {})(work)", "let it take these two"),
    "a lock that is a class": ("with_lock(Thing)(work)", "give it a name"),
    "a workflow without a description": ("workflow(5)", 'write @workflow("what it does")'),
    "a target that is none": ('workflow("W", target="REMOVE")', "use one of"),
    "a workflow's queue that is none": ('workflow("W", queue="")', "use up to 100 letters"),
    "a start form that is no form": ('workflow("W", initial_input_form=Thing)', "give a subclass of FormPage"),
    "a start form that is a value": ('workflow("W", initial_input_form=3)', "give it a function"),
    "a predicate that is none": ('workflow("W", run_predicate=True)', "give a function of PredicateContext"),
    "a class as predicate": ('workflow("W", run_predicate=RunPredicateFail)', "give a function of PredicateContext"),
    "who may start is no function": ('workflow("W", authorize_callback="noc")', "give a function of the user"),
    "a form's key that is no text": ("register_form(7, plain)", 'write @register_form("key")'),
    "a form without a key": ('register_form("", plain)', "use up to 100 letters, digits"),
    "a form's key with a slash": ('register_form("a/b", plain)', "use up to 100 letters, digits"),
    "a form's key that is a folder": ('register_form("..", plain)', "use up to 100 letters, digits"),
    "a registered form that is none": ('register_form("key", Thing)', "give a subclass of FormPage"),
    "a registered form that is nothing": ('register_form("key", None)', "give it a function"),
    "a registered form that is a step": ('register_form("key", work)', "give it a function"),
    "a registered form's queue": ('register_form("key", plain, queue="a b")', "use up to 100 letters"),
    "a registered form that wants State": (
        'register_form("key", lambda subscription_id: FormPage)',
        "take form_key, reporter or state",
    ),
    "a class as workflow": ('workflow("W")(Thing)', "decorate a function with a name"),
}
BLOCKS = {
    "a form's decorator without parentheses": (
        "@register_form  # here\ndef act(): yield FormPage",
        'write @register_form("key")',
    ),
    "a workflow as registered form": (
        '@register_form("key")  # here\n@workflow("W")\ndef act(): return begin',
        "give it the workflow's form",
    ),
    "a key twice": (
        'register_form("twice", plain)\nregister_form("twice", lambda: FormPage)  # here',
        "give one of them another key",
    ),
    "a step decorator without parentheses": (
        "@step  # here\ndef act(): ...",
        'write @step("what it does")',
    ),
    "a workflow decorator without parentheses": (
        "@workflow  # here\ndef act(): return begin",
        'write @workflow("what it does")',
    ),
    "a step that yields": ('@step("Do")  # here\ndef act(): yield 1', "return a dict, or use @inputstep"),
    "a workflow that returns nothing": ('@workflow("W")  # here\ndef act(): work', "return steps joined by >>"),
    "a workflow that returns a list": ('@workflow("W")  # here\ndef act(): return [work]', "return steps joined by >>"),
    "a workflow that yields": ('@workflow("W")  # here\ndef act(): yield work', "return steps joined by >>"),
    "a step's decorator above a workflow's": (
        '@step("Do")  # here\n@workflow("W")\ndef act(): return begin',
        "give it a function",
    ),
    "a workflow that is async": ('@workflow("W")  # here\nasync def act(): return begin', "make it a plain function"),
    "a workflow that takes something": ('@workflow("W")  # here\ndef act(state): return begin', "take nothing"),
    "a workflow with Start in its middle": (
        '@workflow("W")  # here\ndef act(): return work >> init >> done',
        "use init once, in front, by itself",
    ),
    "a workflow whose Start is conditional": (
        '@workflow("W")  # here\ndef act(): return conditional(bool)(init) >> work',
        "use init once, in front, by itself",
    ),
    "a function in the list of a workflow": (
        '@workflow("W")\ndef act():\n    return init >> work >> plain  # here',
        "decorate the function with @step",
    ),
}


@pytest.fixture(autouse=True)
def _no_form_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor stays one behind."""
    monkeypatch.setattr(free_forms, "_REGISTERED", {})


def imported(source: str, folder: Path) -> ModuleType:
    """Import `source` as an author's module."""
    path = folder / "author.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("author", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(source: str, remedy: str, folder: Path) -> None:
    """The mistake in the line marked `# here` is told with that line, in one sentence that ends with what to do."""
    with pytest.raises(DefinitionError) as caught:
        imported(source, folder)
    error = caught.value
    line = 1 + next(n for n, text in enumerate(source.splitlines()) if "# here" in text)
    assert (error.file, error.line) == (str(folder / "author.py"), line)
    assert remedy in error.remedy
    assert str(error) == f"{error.problem}: {error.remedy} ({error.file}:{line})"
    assert "\n" not in str(error)
    assert not any(word in str(error) for word in ("<function", "object at 0x"))


@pytest.mark.parametrize(("line", "remedy"), ONE_LINERS.values(), ids=ONE_LINERS)
def test_a_mistake_in_a_line(line: str, remedy: str, tmp_path: Path) -> None:
    """Where it is called."""
    check(f"{HEAD}\n{line}  # here\n", remedy, tmp_path)


@pytest.mark.parametrize(("block", "remedy"), BLOCKS.values(), ids=BLOCKS)
def test_a_mistake_in_a_definition(block: str, remedy: str, tmp_path: Path) -> None:
    """Where it begins, or where its list is written."""
    check(f"{HEAD}\n{block}\n", remedy, tmp_path)


def test_the_names_of_the_mistakes_are_those_of_functions_and_lines(tmp_path: Path) -> None:
    """A function that is no step is named with the line it is defined at."""
    with pytest.raises(DefinitionError) as caught:
        imported(f"{HEAD}\nsteps = work >> plain\n", tmp_path)
    defined = 1 + HEAD.splitlines().index("def plain(state): return {}")
    assert caught.value.problem == f"author.plain, defined at {tmp_path / 'author.py'}:{defined}, is not a step"


def test_what_is_right_is_imported(tmp_path: Path) -> None:
    """None of the words above is a mistake by itself."""
    source = f"""{HEAD}
class Page(FormPage):
    confirmed: bool

class Team(str, Enum):
    NOC = "noc"

def allowed(user): return True

def may_run(context): return RunPredicatePass()

ask = inputstep("Ask", Team.NOC, resume_auth_callback=allowed)(Page)
call = callback_step("Call", work, work, timeout=5, extended_by_progress=True)
part = steplens(lambda state: state["a"], lambda state: lambda part: {{**state, "a": part}})

@workflow("Right", initial_input_form=Page, run_predicate=may_run, authorize_callback=allowed, queue="gpu")
def right():
    group = step_group("All", work >> ask, retry=Retry(times=1, on=[OSError]), timeout=3)
    return focussteps("a")(call) >> part(group) >> conditional(bool)(work)
"""
    module = imported(source, tmp_path)
    assert [node.kind for node in module.right.steps] == ["start", "callback", "group", "step", "done"]


def test_what_a_function_of_the_language_raises_itself_is_not_taken_for_a_wrong_call(tmp_path: Path) -> None:
    """The author's function may raise a TypeError of its own."""
    with pytest.raises(TypeError, match="unsupported operand"):
        imported(f'{HEAD}\n@workflow("W")\ndef act(): return 1 + "1"\n', tmp_path)
