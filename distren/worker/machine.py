"""What this machine has, and how much of it is free, as the kernel says: cores, processor time, memory.

Limits of control groups (containers, systemd) count as the machine's own, version 1 and 2.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_UNLIMITED = 2**60
"""bytes; version 1 writes a number close to 2**63 where there is no limit"""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The state at `time` (seconds, monotonic).

    `idle` is the processor time in core-seconds that nobody has used since some moment in the past, `used` what our
    control group has used, None where nothing limits it; `memory` is how many bytes can still be had.
    """

    time: float
    idle: float
    used: float | None
    memory: int


class Machine:
    """Reads the kernel's files below `root` (another than / for tests)."""

    def __init__(self, root: Path = Path("/"), processors: frozenset[int] | None = None) -> None:
        self._root = root
        self._processors = frozenset(os.sched_getaffinity(0)) if processors is None else processors
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._groups = dict(_group_folders(root))
        self._quota, self._limited = self._cpu_quota()
        self.cores = max(1, math.ceil(min(len(self._processors), self._quota)))
        """how many processors may be used at once"""
        self.memory = min(self._meminfo("MemTotal:"), *(limit for limit, _ in self._memory_limits()), _UNLIMITED)
        """bytes that there are"""

    def now(self) -> float:
        """The time of a sample that is taken now."""
        return time.monotonic()

    def sample(self) -> Sample:
        available = self._meminfo("MemAvailable:")
        left = [limit - used for limit, used in self._memory_limits()]
        used = None if self._limited is None else _usage(self._limited)
        return Sample(time=self.now(), idle=self._idle(), used=used, memory=max(min(available, *left, _UNLIMITED), 0))

    def free(self, before: Sample, after: Sample) -> float:
        """Cores that nobody used on the average between two samples, as far as we may use them."""
        seconds = max(after.time - before.time, 1e-6)
        free = (after.idle - before.idle) / seconds
        if before.used is not None and after.used is not None:
            free = min(free, self._quota - (after.used - before.used) / seconds)
        return min(max(free, 0.0), float(self.cores))

    def _idle(self) -> float:
        """Core-seconds; waiting for a disk is not counted as idle: more renders would make that worse."""
        ticks = 0
        for line in (self._root / "proc/stat").read_text("ascii").splitlines():
            name, *numbers = line.split()
            if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in self._processors:
                ticks += int(numbers[3])
        return ticks / self._ticks

    def _meminfo(self, name: str) -> int:
        for line in (self._root / "proc/meminfo").read_text("ascii").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
        return _UNLIMITED

    def _cpu_quota(self) -> tuple[float, Path | None]:
        """The smallest number of cores that a control group grants, and the folder that tells what it has used."""
        best: tuple[float, Path | None] = (math.inf, None)
        for folder in _upwards(self._groups, "cpu"):
            quota, period = _numbers(folder / "cpu.max") or (-1, 0)
            if period and quota > 0:
                best = min(best, (quota / period, folder))
            quota, period = (*_numbers(folder / "cpu.cfs_quota_us"), *_numbers(folder / "cpu.cfs_period_us"), -1, 0)[:2]
            if period and quota > 0:
                best = min(best, (quota / period, folder))
        return best

    def _memory_limits(self) -> Iterator[tuple[int, int]]:
        """For each control group that limits memory: the limit, and what it holds that can not be dropped."""
        for folder in _upwards(self._groups, "memory"):
            for limit_name, used_name, cache_name in (
                ("memory.max", "memory.current", "inactive_file"),
                ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            ):
                limit, used = _numbers(folder / limit_name), _numbers(folder / used_name)
                if limit and used and limit[0] < _UNLIMITED:
                    yield limit[0], max(used[0] - _field(folder / "memory.stat", cache_name), 0)


def _group_folders(root: Path) -> Iterator[tuple[str, tuple[Path, Path]]]:
    """For each controller: the folder of our control group, and that of the topmost one."""
    mount = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(",") if controllers else ("cpu", "memory"):
            top = mount / controller if controllers else mount
            # version 1 wins where a controller is mounted there; in a container the path may be another one's
            if controllers or not (mount / controller).is_dir():
                yield controller, (top / path.lstrip("/"), top)


def _upwards(groups: dict[str, tuple[Path, Path]], controller: str) -> Iterator[Path]:
    if controller in groups:
        folder, top = groups[controller]
        while folder != top and folder.is_relative_to(top):
            if folder.is_dir():
                yield folder
            folder = folder.parent
        yield top


def _usage(folder: Path) -> float:
    """Seconds of processor time that a control group has used; version 1 may count in a hierarchy of its own."""
    microseconds = _field(folder / "cpu.stat", "usage_usec")
    if microseconds:
        return microseconds / 1e6
    for place in (folder, Path(str(folder).replace("/cgroup/cpu/", "/cgroup/cpuacct/"))):
        nanoseconds = _numbers(place / "cpuacct.usage")
        if nanoseconds:
            return nanoseconds[0] / 1e9
    return 0.0


def _numbers(path: Path) -> tuple[int, ...]:
    words = _text(path).split()
    return tuple(int(word) for word in words if word.lstrip("-").isdigit()) if "max" not in words else ()


def _field(path: Path, name: str) -> int:
    for line in _text(path).splitlines():
        if line.startswith(f"{name} "):
            return int(line.split()[1])
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except OSError:
        return ""
