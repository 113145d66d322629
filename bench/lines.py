"""The JSON lines the bench prints."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

MILLISECONDS = 1000.0


def quantile_ms(seconds: Sequence[float], share: float) -> float:
    """Return the smallest measured value that at least `share` of all do not exceed, in milliseconds."""
    # Rounded first: 0.07 * 100 is a little more than 7.
    rank = math.ceil(round(share * len(seconds), 9))
    return round(sorted(seconds)[max(rank, 1) - 1] * MILLISECONDS, 2)


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50, p95 and p99 in milliseconds."""
    return {f"p{share}_ms": quantile_ms(seconds, share / 100) for share in (50, 95, 99)}


def median_ms(seconds: Sequence[float]) -> float:
    """Return the median in milliseconds."""
    return round(statistics.median(seconds) * MILLISECONDS, 2)


class Lines:
    """Prints one line per workload, each with what the numbers were measured on."""

    def __init__(self, versions: Mapping[str, str]) -> None:
        self._versions = {"python": platform.python_version(), **versions}

    def make(self, workload: str, n: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the line as a dict."""
        return {
            "workload": workload,
            "n": n,
            **values,
            "cpus": os.cpu_count(),
            "load1": round(os.getloadavg()[0], 2),
            "versions": self._versions,
        }

    def show(self, workload: str, n: int, values: Mapping[str, Any]) -> None:
        """Print the line at once, so that a long bench shows what it has."""
        print(orjson.dumps(self.make(workload, n, values)).decode(), flush=True)
