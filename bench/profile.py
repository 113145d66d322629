"""`python -m bench --only w1 --profile coordinator`: the workload, and where the time of that service went."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.sampler import TARGET

ROOT = Path(__file__).parents[1]
OURS = ("stepwire", "bench")
SAMPLES = "samples.json"
WRITTEN_SECONDS = 20.0
MOST = 25
Samples = list[tuple[list[str], int]]


def environment(folder: Path) -> dict[str, str]:
    """Return what a service needs in its environment to be looked at; its counts come to `folder`."""
    (folder / "sitecustomize.py").write_text("import bench.sampler\n", encoding="utf-8")
    path = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {"PYTHONPATH": path, TARGET: str(folder / SAMPLES)}


def show(folder: Path) -> None:
    """Print the functions of ours with all they call, and the modules in which the time is spent."""
    samples: Samples = [(stack, count) for stack, count in json.loads(_written(folder / SAMPLES))]
    console = Console(stderr=True)
    console.print(_table("functions of ours with all they call", shares(samples, inclusive_ours)))
    console.print(
        _table("the function of ours that is at work, or waits for a library", shares(samples, innermost_ours))
    )
    console.print(_table("packages by themselves", shares(samples, leaf_module)))


def shares(samples: Samples, names_of: Callable[[list[str]], Iterable[str]]) -> list[tuple[str, float]]:
    """Return names with their share of all samples, the largest first."""
    total = sum(count for _, count in samples) or 1
    counted: Counter[str] = Counter()
    for stack, count in samples:
        for name in names_of(stack):
            counted[name] += count
    return [(name, count / total) for name, count in counted.most_common(MOST)]


def inclusive_ours(stack: list[str]) -> Iterable[str]:
    """Return our functions on a stack, each once."""
    return {name for name in stack if name.startswith(OURS)}


def innermost_ours(stack: list[str]) -> Iterable[str]:
    """Return the function of ours nearest to the top of a stack, with the package it has called."""
    ours = next((name for name in stack if name.startswith(OURS)), "none of ours")
    (leaf,) = leaf_module(stack)
    return [ours if leaf.startswith(OURS) else f"{ours} -> {leaf}"]


def leaf_module(stack: list[str]) -> Iterable[str]:
    """Return the package (of ours the module) at the top of a stack."""
    module = stack[0].partition(":")[0]
    return [module if module.startswith(OURS) else module.partition(".")[0]]


def _written(path: Path) -> bytes:
    deadline = time.monotonic() + WRITTEN_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the service wrote no profile to {path}")
        time.sleep(0.05)
    return path.read_bytes()


def _table(title: str, rows: Iterable[tuple[str, float]]) -> Table:
    table = Table("share", title, box=None, header_style="bold", padding=(0, 2))
    for name, share in rows:
        table.add_row(f"{100 * share:5.1f} %", name)
    return table
