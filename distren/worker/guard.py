"""A process that outlives its worker for a moment: kills what a worker that was killed has left behind.

Run as a program, by child.py, and so without any module of ours. Standard input is a pipe from the worker: a byte says
that it ends in good order, the end of the pipe alone that it was killed. Then every process goes that was started with
the worker's mark in its environment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

EVERY = 0.05
"""seconds between two looks"""
AFTERWARDS = 1.0
"""seconds without any such process after which none can come any more: one may have been on its way into its program"""


def main(mark: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever stops a service means the worker, and with it goes this
    if os.read(0, 1):
        return
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < AFTERWARDS:
        for pid in marked(mark.encode("ascii")):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
            quiet_since = time.monotonic()
        time.sleep(EVERY)


def marked(mark: bytes) -> Iterator[int]:
    """The processes of this machine that were started with `mark` in their environment; not those that have ended."""
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and has(int(path.name), mark):
            yield int(path.name)


def has(pid: int, mark: bytes) -> bool:
    """Whether a process was started with `mark` in its environment; one that has ended was not."""
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


if __name__ == "__main__":
    main(sys.argv[1])
