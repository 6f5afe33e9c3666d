"""What running processes use of the machine, as the kernel tells it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Usage:
    """`processor`: seconds that the processes have used so far; `memory`: the largest peak of one of them, in bytes."""

    processor: float = 0.0
    memory: int = 0


def measure(pids: Iterable[int]) -> Usage:
    """The usage of processes; those that have ended meanwhile count nothing."""
    processor, memory = 0.0, 0
    for pid in pids:
        with suppress(OSError, ValueError, IndexError):
            # proc(5): after the name in brackets come the state and so on; 11 and 12 fields further utime and stime
            fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
            processor += (int(fields[11]) + int(fields[12])) / _TICKS
            memory = max(memory, _peak(pid))
    return Usage(processor=processor, memory=memory)


def forget_peaks(pids: Iterable[int]) -> None:
    """From now on the peaks of processes are those since now, where the kernel lets us (proc(5), clear_refs)."""
    for pid in pids:
        with suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5", "ascii")


def _peak(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
