"""`python -m bench.beside PYTHON`: w2 and w3 beside another engine, in turns on the same machine, as ratios.

One and the same machine is half as fast in one hour as in the next, so a number of milliseconds tells little: what
another engine takes meanwhile tells more. PYTHON is the interpreter of an environment with that engine in it.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import orjson

from bench import peers
from bench.harness import Bench, measure
from bench.lines import Lines, median_ms
from bench.outside import Events
from bench.runs import STARTS, run_burst, run_callback, run_one, seconds_until
from stepwire.chassis.logging import configure_logging
from stepwire_cli.backends.postgres import Postgres

ROUNDS = 3
RUNS = 150
PEER = Path(peers.__file__).with_name("dbos_peer.py")
PEER_SECONDS = 240.0
WARM_UP = 400
BURST = 4000
# The other engine's message has no validation: the first of our author's steps after a callback is that.
OURS_OF = {"w2_kafka": "w2", "w2_http": "w2", "w3_validation": "w3", "w3": "w3"}
CLOCKS = {"w3_validation": "checked_at", "w3": "ran_at"}

Seconds = defaultdict[str, list[float]]


def main() -> None:
    """Measure in turns and print one line: medians of all rounds in milliseconds, and ours as a share of theirs."""
    parser = argparse.ArgumentParser(prog="python -m bench.beside", description="Measure beside DBOS, in turns.")
    parser.add_argument("python", help="interpreter of an environment with dbos in it")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of each workload in each round")
    given = parser.parse_args()
    configure_logging("bench", level="ERROR")
    ours, theirs = Seconds(list), Seconds(list)
    for _ in range(given.rounds):
        _add(theirs, take_theirs(given.python, given.runs))
        _add(ours, take_ours(given.runs))
    Lines({"stepwire": version("stepwire"), "dbos": version_of("dbos", given.python)}).show(
        "beside", given.rounds * given.runs, compare(ours, theirs)
    )


def compare(ours: Mapping[str, list[float]], theirs: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    """Medians in milliseconds, and what share of the other engine's time ours takes."""
    mine = {name: median_ms(seconds) for name, seconds in ours.items()}
    others = {name: median_ms(seconds) for name, seconds in theirs.items()}
    ratios = {name: round(mine[name] / others[peer], 2) for name, peer in OURS_OF.items()}
    return {"stepwire_p50_ms": mine, "dbos_p50_ms": others, "ratio": ratios}


def version_of(package: str, python: str) -> str:
    """Version of a package in another environment.

    Raises:
        subprocess.CalledProcessError: it has none.
    """
    asked = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([python, "-c", asked], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def take_theirs(python: str, runs: int) -> Seconds:
    """Let the other engine run its workloads on a PostgreSQL just started, set up as ours is.

    Raises:
        subprocess.CalledProcessError: it failed; what it said is shown.
    """
    with tempfile.TemporaryDirectory(prefix="stepwire-beside-") as name:
        Path(name).chmod(0o755)
        postgres = Postgres(Path(name) / "postgres")
        url = postgres.start()
        try:
            command = [python, str(PEER), url, str(runs), str(WARM_UP)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=PEER_SECONDS)
        finally:
            postgres.stop()
    return Seconds(list, orjson.loads(done.stdout.splitlines()[-1]))


def take_ours(runs: int) -> Seconds:
    """Run our workloads against services just started."""
    taken = Seconds(list)

    async def run(bench: Bench) -> None:
        async with bench.outside() as outside, Events(outside.bootstrap) as events:
            await run_burst(outside, BURST)
            for transport, start in STARTS.items():
                each = [await run_one(outside, events, start, f"{transport}-{run}") for run in range(WARM_UP + runs)]
                taken[f"w2_{transport}"] = each[WARM_UP:]
            answered = [
                await run_callback(bench, outside, events, "bench_callback", f"w3-{run}")
                for run in range(WARM_UP + runs)
            ]
            for name, clock in CLOCKS.items():
                taken[name] = [await seconds_until(outside, one, clock) for one in answered[WARM_UP:]]

    measure(run)
    return taken


def _add(all_rounds: Seconds, found: Seconds) -> None:
    for name, seconds in found.items():
        all_rounds[name] += seconds


if __name__ == "__main__":
    main()
