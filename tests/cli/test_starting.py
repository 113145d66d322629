"""`stepwire start`: pages, fields and questions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepwire_cli.stack import Stack
from tests.cli.conftest import Cli

PAGES = [{"site": "ams-1", "ports": 4}, {"email": "noc@example.net", "vlans": [7, 8]}]
FIELDS = ("-f", "site=lon-2", "-f", "ports=4", "-f", "email=noc@example.net")


def state_of(stepwire: Cli, process_id: str) -> dict[str, object]:
    """State of a process that has completed."""
    assert stepwire("process", "follow", process_id).code == 0
    found: dict[str, object] = stepwire("process", "show", process_id, "--json").json["current_state"]
    return found


def test_a_workflow_without_a_form_is_started_at_once(stepwire: Cli) -> None:
    """The sentence has the id, the log who did it."""
    done = stepwire("start", "hello")
    assert done.code == 0
    process_id = done.out.split()[-1].rstrip(".")
    state = state_of(stepwire, process_id)
    assert state["greeting"] == "hello"
    assert state["reporter"] not in (None, "gateway")


def test_pages_are_given_as_json_or_as_a_file_or_piped(stepwire: Cli, tmp_path: Path) -> None:
    """All three start the same."""
    text = json.dumps(PAGES)
    file = tmp_path / "pages.json"
    file.write_text(text)
    for done in (
        stepwire("start", "order_ports", text, "--json"),
        stepwire("start", "order_ports", str(file), "--json"),
        stepwire("start", "order_ports", "-", "--json", typed=text),
    ):
        assert done.code == 0, done.err
        assert state_of(stepwire, done.json["process_id"])["vlans"] == [7, 8]


def test_options_arrive(stepwire: Cli) -> None:
    """Labels, priority, reporter; the same command id again starts nothing new."""
    options = ("--label", "order:4711", "--priority", "7", "--reporter", "jane", "--command-id", "cli-test-options")
    first, second = (stepwire("start", "hello", *options, "--json").json for _ in range(2))
    assert first == second
    shown = stepwire("process", "show", first["process_id"], "--json").json
    assert (shown["labels"], shown["priority"], shown["created_by"]) == ({"order": "4711"}, 7, "jane")


def test_fields_fill_the_pages_that_have_them(stepwire: Cli) -> None:
    """What has a default is not asked."""
    done = stepwire("start", "order_ports", *FIELDS, "-f", "vlans=1, 2", "-f", "trunk=yes", "--json")
    assert done.code == 0, done.err
    state = state_of(stepwire, done.json["process_id"])
    assert (state["site"], state["ports"], state["trunk"], state["vlans"]) == ("lon-2", 4, True, [1, 2])


def test_only_what_was_not_answered_is_asked_for_in_the_end(stepwire: Cli) -> None:
    """The lines piped in were too few."""
    done = stepwire("start", "order_ports", typed="ams-1\n")
    assert done.code == 2
    assert "the form asks for 'ports'; give pages as JSON, or --field ports=VALUE." in done.err


def test_questions_are_asked_page_by_page(stepwire: Cli) -> None:
    """What is no answer is asked again at once, what the form refuses after its page; standard output stays clean."""
    # site twice, ports, trunk; ports again; email twice (the pattern is the form's), vlans, remark.
    typed = "ams-3\n2\n99\n\n3\nnobody\n\n\nnoc@example.net\n"
    done = stepwire("start", "order_ports", "--json", typed=typed)
    assert done.code == 0, done.err
    assert "'ams-3' is none of the choices; did you mean ams-1?\n" in done.err
    assert "ports: Input should be less than or equal to 48" in done.err
    assert "Who is told when 3 ports are there" in done.err
    assert "email: String should match pattern '@'" in done.err
    state = state_of(stepwire, done.json["process_id"])
    assert (state["site"], state["ports"], state["email"]) == ("lon-2", 3, "noc@example.net")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("helo",), 1, "there is no workflow 'helo'; did you mean hello?"),
        (("hello?hold=true",), 1, "there is no workflow 'hello?hold=true'"),
        (("../hello",), 1, "there is no workflow '../hello'"),
        (("hello", "{"), 2, "PAGES is no JSON at line 1, column 2, near '{'"),
        (("order_ports", '[{"site": "ams-1", "ports": NaN}]'), 2, "PAGES cannot be sent: NaN is no number in JSON."),
        (("order_ports", '[{"site": "\\ud800"}]'), 2, "cannot be sent: it is no text in UTF-8."),
        (("order_ports", "[" * 100_000), 2, "PAGES cannot be sent: it is nested too deeply."),
        (("order_ports", '[{"ports": ' + "1" * 5000 + "}]"), 2, "PAGES cannot be sent: Exceeds the limit"),
        (("hello", "--command-id", "caf\u00e9"), 2, "'\u00e9' cannot be sent: a header takes ASCII only."),
        (("hello", "--label", "a:\udcff"), 2, "cannot be sent: it is no text in UTF-8."),
        (("hello", "[1]"), 2, "PAGES must be a JSON list with one object per page"),
        (("hello", "no-such-file"), 2, "neither JSON nor a file that can be read: No such file or directory"),
        (("hello", "--label", "order"), 2, "--label 'order' is not written as name:value"),
        (("hello", "--field", "a=b"), 1, "workflow 'hello' has no form"),
        (("helo", "--field", "a=b"), 1, "did you mean hello?"),
        (("hello", "--priority", "much"), 2, "Input should be a valid integer"),
        (("hello", "--command-id", "x" * 201), 2, "command_id"),
        (("order_ports",), 2, "the form asks for 'site', 'ports'; give pages as JSON, or --field site=VALUE"),
        (("order_ports", '[{"site": "ams-1", "ports": 99}]'), 1, "ports: Input should be less than or equal to 48"),
        (("order_ports", '[{"site": "ams-1", "ports": 9}]'), 2, "the form asks for 'email'"),
        (("order_ports", "-f", "ports=x"), 2, "--field ports=x cannot be used: 'x' is no whole number"),
        (("order_ports", *FIELDS, "-f", "vlan=1"), 2, "the form does not ask for 'vlan'; did you mean vlans?"),
        (("order_ports", "-f", "site=ams-1", "-f", "site=lon-2"), 2, "--field gives 'site' twice"),
        (("order_ports", "-f", "sites=a"), 2, "asks for 'site', 'ports', and not for 'sites' so far; give pages"),
        (("hello", "--url", "localhost:8080"), 2, "write it as http://127.0.0.1:8080"),
        (("hello", "--url", "http://127.0.0.1:1"), 3, "refused; start it with `stepwire dev` or `stepwire gateway`"),
    ],
)
def test_what_is_mistyped_is_told(stepwire: Cli, arguments: tuple[str, ...], code: int, sentence: str) -> None:
    """One sentence with the remedy, and nothing is started."""
    before = stepwire("engine", "status", "--json").json["task_counts"]
    done = stepwire("start", *arguments)
    assert done.code == code
    assert sentence in " ".join(done.err.replace("│", " ").split())
    assert "Traceback" not in done.err
    assert stepwire("engine", "status", "--json").json["task_counts"] == before


def test_a_refusal_is_json_where_json_is_asked_for(stepwire: Cli) -> None:
    """The reason and what is wrong with the pages, for programs."""
    done = stepwire("start", "order_ports", '[{"site": "ams-1", "ports": 99}]', "--json")
    assert done.code == 1
    assert done.json["error"]["reason"] == "invalid_input"
    assert done.json["error"]["validation_errors"][0]["loc"] == ["ports"]


def test_it_can_be_followed_at_once(stepwire: Cli) -> None:
    """The exit code is that of the process."""
    done = stepwire("start", "hello", "--follow")
    assert done.code == 0
    assert "Say hello: success" in done.out
    assert done.out.rstrip().endswith("Process completed")
    failed = stepwire("start", "breaks", "--follow")
    assert failed.code == 1
    assert "RuntimeError: the line card of nowhere is gone" in failed.out


def test_the_gateway_is_found_where_the_stack_runs(
    alone: Cli, stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the folder of `stepwire dev` nothing has to be set; what is set goes first."""
    monkeypatch.chdir(stack.folder.parent)
    assert alone("start", "hello").code == 0
    assert alone("engine", "status", settings={"STEPWIRE_GATEWAY_PORT": "1"}).code == 3
    assert alone("engine", "status", settings={"STEPWIRE_GATEWAY_URL": "http://127.0.0.1:1"}).code == 3
    monkeypatch.chdir(tmp_path)
    assert "http://127.0.0.1:2" in alone("start", "hello", settings={"STEPWIRE_GATEWAY_PORT": "2"}).err
