"""Does something in a fork of this process that may take only so much, and says how it went."""

from __future__ import annotations

import gc
import os
import pickle
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SECONDS = 2
"""of processor time that refusing something hostile may take"""
MEMORY = 256 * 2**20
"""bytes that it may take beyond what the process has before"""


@dataclass(frozen=True)
class Outcome:
    """The error's type and text ('' for none), and what it took."""

    error: str
    text: str
    processor: float
    memory: int


def confined(act: Callable[[], object]) -> Outcome:
    """Do it with no more than SECONDS and MEMORY; the kernel ends what takes more, and then this fails."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            gc.freeze()  # what other tests have left is not looked through at this one's expense
            outcome = _attempt(act)
            with os.fdopen(writing, "wb") as file:
                pickle.dump(outcome, file)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        data = file.read()
    _, status = os.waitpid(child, 0)
    assert data, f"it took more than {SECONDS} s or {MEMORY} bytes: {os.waitstatus_to_exitcode(status)}"
    found: Outcome = pickle.loads(data)
    return found


def _attempt(act: Callable[[], object]) -> Outcome:
    before, address_space = _high(), int(Path("/proc/self/statm").read_text("ascii").split()[0])
    used = time.process_time()
    limit = address_space * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS + int(used) + 1, SECONDS + int(used) + 1))
    error = text = ""
    try:
        act()
    except Exception as refused:
        error, text = type(refused).__name__, str(refused)
    return Outcome(error, text, time.process_time() - used, _high() - before)


def _high() -> int:
    """The most bytes of memory that this process has had at a time."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
