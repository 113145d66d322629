"""Logs: one line per record, JSON away from a terminal, the standard library's included."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

from stepwire.chassis.logging import MOST_REMEMBERED, SAME_AGAIN_SECONDS, Seldom

PROGRAM = """
import logging
from stepwire.chassis.logging import configure_logging, get_logger
configure_logging("executor", level={level!r}, log_format={form!r})
log = get_logger(process_id="p1", node="4")
log.info("A step ended.", action="step", epoch=3)
log.debug("Details.", state="secret")
logging.getLogger("other").warning("Beware of %s.", "this")
logging.getLogger("pydantic_forms").debug("whole state")
for node in (1, 2) * 9:
    logging.getLogger("aiokafka.consumer").error("Unable to reach node %s.", node)
try:
    raise ValueError("broken")
except ValueError:
    log.exception("It failed.")
"""


def run(form: str, level: str = "INFO") -> str:
    """What such a program writes to stderr."""
    program = PROGRAM.format(form=form, level=level)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    return done.stderr


def records(level: str = "INFO") -> list[dict[str, Any]]:
    """The same as records."""
    return [json.loads(line) for line in run("json", level).splitlines()]


def test_records_carry_what_is_bound() -> None:
    """Process, node, epoch, level, service and UTC time are on each record."""
    first = records()[0]
    assert first["event"] == "A step ended."
    assert (first["process_id"], first["node"], first["epoch"]) == ("p1", "4", 3)
    assert (first["service"], first["level"], first["action"]) == ("executor", "info", "step")
    assert first["timestamp"].endswith("Z")


def test_debug_is_silent_by_default() -> None:
    """Nothing of debug at info, and nothing of whole States from libraries at debug."""
    assert "secret" not in run("json")
    assert "secret" in run("json", "DEBUG")
    assert "whole state" not in run("json", "DEBUG")


def test_the_standard_library_is_routed() -> None:
    """A library's warning looks like ours."""
    warning = next(record for record in records() if record.get("logger") == "other")
    assert warning["event"] == "Beware of this."
    assert (warning["level"], warning["service"]) == ("warning", "executor")


def test_the_same_sentence_of_a_talkative_library_is_told_once() -> None:
    """While Kafka is away its library tells of each try; once for each node is enough."""
    told = [record["event"] for record in records() if record.get("logger") == "aiokafka.consumer"]
    assert told == ["Unable to reach node 1.", "Unable to reach node 2."]


def test_it_is_told_again_after_a_while() -> None:
    """It must be seen that the trouble lasts, and what has been told must not fill the memory."""
    now = 0.0
    seldom = Seldom(lambda: now)

    def passes(name: str, number: int) -> bool:
        return bool(seldom.filter(logging.LogRecord(name, logging.ERROR, "", 0, "Try %s failed.", (number,), None)))

    assert [passes("aiokafka", 1), passes("aiokafka", 1)] == [True, False]
    assert [passes("other", 1), passes("other", 1)] == [True, True]
    now = SAME_AGAIN_SECONDS
    assert [passes("aiokafka", 1), passes("aiokafka", 1)] == [True, False]
    assert all(passes("aiokafka", number) for number in range(2, 2 + MOST_REMEMBERED))
    assert passes("aiokafka", 1)


def test_exceptions_stay_in_one_line_of_json() -> None:
    """The traceback is a field."""
    assert "ValueError: broken" in records()[-1]["exception"]


def test_a_person_reads_words() -> None:
    """The console's form is no JSON."""
    assert "A step ended." in run("console")
    assert not run("console").startswith("{")
