"""`python -m bench [--only w1,w2,...]`: one line of JSON per measurement on stdout."""

from __future__ import annotations

import argparse

from bench.harness import SERVICES, measure
from bench.workloads import WORKLOADS, chosen
from stepwire.chassis.logging import configure_logging


def main() -> None:
    """Run the chosen workloads, each against services just started."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the running services from outside.")
    parser.add_argument("--only", default="", help=f"some of {','.join(WORKLOADS)}; all by default")
    parser.add_argument("--profile", choices=SERVICES, default="", help="show where the time of that service goes")
    given = parser.parse_args()
    try:
        names = chosen(given.only)
    except ValueError as error:
        parser.error(str(error))
    # Lines on stdout are JSON; what is said while the stack is started is not.
    configure_logging("bench", level="ERROR")
    for name in names:
        measure(WORKLOADS[name], given.profile)


if __name__ == "__main__":
    main()
