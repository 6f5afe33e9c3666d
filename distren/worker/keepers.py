"""The keepers of this worker: small processes that start its programs, and end all that those leave behind.

One keeper has one program at a time, so that it knows of everything below it whose it is. It is lent for the program's
life, and waits for the next one then: there are as many as there were ever programs at once.

Where somebody kills a keeper alone, the worker inherits what descended from it, and ends that (`adopt_orphans`).
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from distren.worker import keeper

_idle: list[Keeper] = []
_ours: set[int] = set()
"""the numbers of all keepers"""
_starting = threading.Lock()
_adopts = False
"""whether this process is a worker, whose children in other sessions are keepers and what keepers have left behind"""


class KeeperGone(OSError):
    """Somebody has killed the keeper."""


class Keeper:
    """A keeper's side that the worker sees. One thread uses it at a time."""

    def __init__(self) -> None:
        self._line, there = socket.socketpair()
        with there, _starting:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", keeper.__file__],
                cwd="/",
                env={},
                stdin=there.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            _ours.add(self._process.pid)

    @property
    def is_there(self) -> bool:
        return self._process.poll() is None

    def fileno(self) -> int:
        """A descriptor that is readable between questions only once the keeper is gone."""
        return self._line.fileno()

    def start(
        self, argv: Sequence[str], environment: Mapping[str, str], folder: Path, descriptors: Sequence[int]
    ) -> int:
        """Start a program; its process' number, which is its own until `end`.

        `descriptors` are its input, its output and errors, then 3, 4 and so on. Raises OSError.
        """
        message = {"argv": list(argv), "environment": dict(environment), "folder": str(folder)}
        answer = self._ask(message, descriptors)
        if "error" in answer:
            raise OSError(answer["error"])
        return int(answer["pid"])

    def end(self) -> dict[str, Any]:
        """Kill what is left of the program, wait until nothing is, and be free for the next.

        The answer holds its `status` as wait(2) gives it, and what all of its processes used: the `memory` of the
        largest in bytes, and the seconds of `processor` time. Raises KeeperGone.
        """
        answer = self._ask({})
        _idle.append(self)
        return answer

    def _ask(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        try:
            keeper.send(self._line, message, descriptors)
            answer = keeper.receive(self._line)
        except OSError:
            answer = None
        if answer is None:
            self._process.kill()
            self._process.wait()  # only then what it leaves behind is ours
            _ours.discard(self._process.pid)
            raise KeeperGone("the process that starts programs is gone")
        return answer[0]


def take() -> Keeper:
    """A keeper that is free; `end` makes it free again. Raises OSError."""
    while _idle:
        try:
            found = _idle.pop()
        except IndexError:  # another thread was faster
            break
        if found.is_there:
            return found
    return Keeper()


def adopt_orphans() -> None:
    """From now on this process inherits what descends from a keeper that somebody kills; for a worker's own process.

    It starts nothing else in sessions of their own.
    """
    global _adopts
    _adopts = True
    ctypes.CDLL(None, use_errno=True).prctl(keeper.PR_SET_CHILD_SUBREAPER, 1)


def end_orphans() -> None:
    """Kill what this process has inherited from keepers that are gone, and wait until nothing of it is left.

    That is in sessions of its own, as keepers start it, which nothing leaves for ours. A process that adopts nothing
    has nothing to end, and may have children that are nobody's business.
    """
    if not _adopts:
        return
    with _starting:  # or a keeper that starts now could be taken for an orphan
        while orphans := [pid for pid in keeper.children(os.getpid()) if pid not in _ours and _is_elsewhere(pid)]:
            for orphan in orphans:
                for pid in (orphan, *keeper.below(orphan)):
                    with suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(orphan, 0)


def _is_elsewhere(pid: int) -> bool:
    """Whether a process is in another session than ours."""
    try:
        return os.getsid(pid) != os.getsid(0)
    except ProcessLookupError:
        return False
