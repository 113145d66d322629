"""Limits how large files of running processes may grow: `limits.py BYTES PID...`; -1 lifts the limit again.

A process of another user may be limited by that user alone, even where we are root: so we become that user first.
Started as a file, without site-packages: it imports the standard library alone. Linux only.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def limit_files(size: int, pids: Iterable[int]) -> None:
    """Let no file of these processes, all of one user, grow beyond `size` bytes; those of children begun later too."""
    command = [sys.executable, "-I", "-S", __file__, str(size), *map(str, pids)]
    subprocess.run(command, check=True)


def main(size: int, *pids: int) -> None:
    """Become the user of the processes, and limit them."""
    owner = Path(f"/proc/{pids[0]}").stat()
    if owner.st_uid != os.geteuid():
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
    for pid in pids:
        # A session may end before it is its turn.
        with suppress(ProcessLookupError):
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size < 0 else size, hard))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
