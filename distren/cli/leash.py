"""`python -m distren.cli.leash PARENT PROGRAM ...`: become PROGRAM, and be told to end when the process PARENT is gone.

A supervisor that is killed with -9 can tell its children nothing; Linux can (prctl(2), PR_SET_PDEATHSIG). The setting
follows the thread that started the child, so the supervisor starts its children from its main thread.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""


def hold(parent: int) -> None:
    """Have the kernel send this process SIGTERM when its parent ends; ends it now if that has happened already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(f"leash: the process {parent} that started this one has ended")


if __name__ == "__main__":
    hold(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
