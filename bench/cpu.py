"""CPU seconds and memory of the services and what they start, as the kernel counts them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress

import psutil

GENERATOR = "generator"
MEGABYTE = 1e6


def _family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process and all its children, the ended ones (backends) included."""
    total = 0.0
    for process in _family(pid):
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


def rss_megabytes(pid: int) -> float:
    """Return the resident memory of one process without its children."""
    return float(psutil.Process(pid).memory_info().rss) / MEGABYTE


class CpuMeter:
    """CPU seconds of each service since the meter was made; the generator is this process itself."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._before = self._read()
        self._since = time.monotonic()

    def seconds(self) -> dict[str, float]:
        """CPU seconds by service."""
        now = self._read()
        return {name: round(now[name] - self._before[name], 3) for name in now}

    def milliseconds_each(self, count: int) -> dict[str, float]:
        """CPU milliseconds by service for each of `count` things done since the meter was made."""
        return {name: round(1000 * used / count, 2) for name, used in self.seconds().items()}

    def percent_of_one_core(self, names: Iterable[str]) -> float:
        """CPU of some services together, as a share of one core since the meter was made."""
        used = self.seconds()
        return round(100 * sum(used[name] for name in names) / (time.monotonic() - self._since), 2)

    def _read(self) -> dict[str, float]:
        own = os.times()
        return {name: cpu_seconds(pid) for name, pid in self._pids.items()} | {GENERATOR: own.user + own.system}
