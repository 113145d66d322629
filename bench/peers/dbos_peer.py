"""DBOS at w2 and w3; run with the URL of an empty PostgreSQL: `python dbos_peer.py URL RUNS WARM_UP`.

It is asked in its favour: the caller is in the engine's own process, so no request and no record is on the way.
"""

import json
import sys
import time

from dbos import DBOS

TOPIC = "answer"
ASKED_SECONDS = 30.0
SETTLE_SECONDS = 0.03

ran_at: list[float] = []


@DBOS.step()
def one() -> int:
    """Give a number."""
    return 1


@DBOS.step()
def two(before: int) -> int:
    """Count on."""
    return before + 1


@DBOS.step()
def after() -> None:
    """What follows the message; the clock shows when it ran."""
    ran_at.append(time.perf_counter())


@DBOS.workflow()
def five() -> int:
    """w2: five trivial steps."""
    return two(two(two(two(one()))))


@DBOS.workflow()
def waits() -> None:
    """w3: a step after a message."""
    DBOS.recv(TOPIC, timeout_seconds=ASKED_SECONDS)
    after()


def run_five() -> float:
    """Seconds from the start of a workflow to its result."""
    began = time.perf_counter()
    DBOS.start_workflow(five).get_result()
    return time.perf_counter() - began


def answer() -> float:
    """Seconds from sending the message to the next step running."""
    handle = DBOS.start_workflow(waits)
    # It has to wait for the message by then: one that is there before is found at once.
    time.sleep(SETTLE_SECONDS)
    sent = time.perf_counter()
    DBOS.send(handle.workflow_id, "answer", TOPIC)
    handle.get_result()
    return ran_at[-1] - sent


def main() -> None:
    """Print the seconds that each run took, as JSON."""
    url, runs, warm_up = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    DBOS(config={"name": "stepwire-bench", "system_database_url": url, "log_level": "ERROR"})
    DBOS.launch()
    taken = {}
    for name, run in (("w2", run_five), ("w3", answer)):
        for _ in range(warm_up):
            run()
        taken[name] = [run() for _ in range(runs)]
    DBOS.destroy()
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
