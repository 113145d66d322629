"""Becomes another program that ends with the process that started it: `launcher.py SIGNAL UID GID PROGRAM ARGUMENT...`.

Uid and gid are -1 to stay who we are. Started as a file, without site-packages: it imports the standard library alone.
The kernel ties the program to the thread that started it, so that thread has to live as long as the program shall.
Linux only; elsewhere the program stays when its starter is killed with SIGKILL, and has to be ended by hand.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Change the user, tie ourselves to our parent, and execute the program."""
    death_signal, uid, gid = (int(text) for text in arguments[:3])
    parent = os.getppid()
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # After the change of user, which would clear it.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
    os.execv(arguments[3], arguments[3:])  # noqa: S606  # becoming that program is what this is for


if __name__ == "__main__":
    main(sys.argv[1:])
