"""How many renders at once: the decision from synthetic samples, and the reading of the kernel's files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from distren.worker.load import LOOK, SETTLE, Admission, Bounds, Load, decided, fitting
from distren.worker.machine import Machine, Sample

MIB = 2**20
FOUR = Bounds(cores=4, memory=16_000 * MIB)


def load(free: float, running: int, *, memory: int = 8_000, young: int = 0, peak: int | None = 100) -> Load:
    """A load; memory and peak in MiB."""
    return Load(free=free, memory=memory * MIB, running=running, young=young, peak=None if peak is None else peak * MIB)


@pytest.mark.parametrize(
    ("target", "now", "wanted"),
    [
        (4, load(0.0, 0), 4),  # nothing runs: one for each core
        (8, load(4.0, 0), 4),  # what was measured in an earlier job counts no more
        (4, load(0.0, 4), 4),  # all busy
        (4, load(1.0, 4), 5),  # a core is idle though all slots are busy
        (4, load(2.5, 4), 6),  # two are
        (4, load(0.25, 4), 5),  # a little more than the 6 % that it takes
        (4, load(0.23, 4), 4),  # a little less
        (4, load(3.0, 3), 4),  # slots are free: no need for more
        (7, load(2.0, 7), 8),  # never more than twice the cores
        (8, load(2.0, 8), 8),
        (6, load(0.2, 6), 6),  # between the bounds: as it is
        (6, load(0.03, 6), 5),  # nothing is idle any more: fewer
        (6, load(0.03, 3), 5),
        (4, load(0.0, 6), 4),
    ],
)
def test_the_number_of_renders_follows_the_idle_cores(target: int, now: Load, wanted: int) -> None:
    assert decided(target, now, FOUR, settled=True) == wanted


def test_nothing_changes_before_the_last_change_can_be_seen() -> None:
    assert decided(4, load(2.0, 4), FOUR, settled=False) == 4
    assert decided(6, load(0.0, 6), FOUR, settled=False) == 6


@pytest.mark.parametrize(
    ("now", "wanted"),
    [
        (load(2.0, 4, memory=1_000, peak=1_000), 4),  # 800 MiB are left alone: no room for a fifth
        (load(2.0, 4, memory=1_900, peak=1_000), 5),
        (load(2.0, 4, memory=1_900, peak=1_000, young=1), 4),  # one that has just begun will take its share
        (load(2.0, 4, memory=900, peak=None), 4),  # nobody knows: 256 MiB
        (load(2.0, 4, memory=1_100, peak=None), 5),
        (load(2.0, 1, memory=100, peak=1_000), 1),  # one may always run
        (load(2.0, 0, memory=0), 1),
        (load(0.5, 2, memory=0, peak=1_000), 1),  # short of memory: fewer than cores
    ],
)
def test_memory_bounds_the_number_of_renders(now: Load, wanted: int) -> None:
    assert min(decided(4, now, FOUR, settled=True), FOUR.most(None)) == wanted


def test_memory_acts_at_once() -> None:
    assert decided(8, load(2.0, 6, memory=0, peak=1_000), FOUR, settled=False) < 6
    assert fitting(load(0.0, 3, memory=10_800, peak=1_000), FOUR) == 13


class Gauge:
    """A machine of four cores that is told how idle it is."""

    cores, memory = 4, 16_000 * MIB

    def __init__(self) -> None:
        self.time, self.idle = 100.0, 0.0

    def now(self) -> float:
        return self.time

    def sample(self) -> Sample:
        return Sample(time=self.time, idle=self.idle, used=None, memory=8_000 * MIB)

    def free(self, before: Sample, after: Sample) -> float:
        return (after.idle - before.idle) / (after.time - before.time)

    def pass_time(self, seconds: float, free: float) -> None:
        self.time += seconds
        self.idle += seconds * free


class Renders:
    def __init__(self) -> None:
        self.running = 0
        self.peak: int | None = 50 * MIB
        self.share: float | None = None

    def young(self, seconds: float) -> int:
        return 0

    def forget_share(self) -> None:
        self.share = None


def limits(admission: Admission, gauge: Gauge, renders: Renders, seconds: float, free: float) -> int:
    """The limit after a while in which every slot is always busy."""
    for _ in range(round(seconds / 0.25)):
        renders.running = admission.limit
        gauge.pass_time(0.25, free)
    return admission.limit


def test_a_fixed_number_of_slots_is_never_touched() -> None:
    gauge, renders = Gauge(), Renders()
    admission = Admission(7, gauge=gauge, renders=renders)
    gauge.pass_time(10.0, 0.0)
    assert admission.limit == 7
    assert admission.may_start(6)
    assert not admission.may_start(7)


def test_auto_begins_with_the_cores_rises_while_some_are_idle_and_falls_when_none_is() -> None:
    gauge, renders = Gauge(), Renders()
    admission = Admission("auto", gauge=gauge, renders=renders)
    assert admission.limit == 4
    gauge.pass_time(60.0, 4.0)
    assert admission.limit == 4
    assert limits(admission, gauge, renders, 10.0, 1.0) == 8
    assert limits(admission, gauge, renders, 20.0, 0.0) == 4


def test_programs_that_sleep_most_of_their_time_are_more_than_others() -> None:
    gauge, renders = Gauge(), Renders()
    admission = Admission("auto", gauge=gauge, renders=renders)
    renders.share = 0.05
    assert limits(admission, gauge, renders, 30.0, 1.0) == 48
    renders.share = 0.25
    assert limits(admission, gauge, renders, 10.0, 1.0) == 16
    renders.share = 3.0  # one with many threads
    assert limits(admission, gauge, renders, 10.0, 1.0) == 8


def test_light_renders_are_added_at_once_where_most_is_idle() -> None:
    light = replace(load(3.75, 4), share=0.1)
    assert decided(4, light, FOUR, settled=False) == 4 + 12
    assert decided(4, replace(light, free=1.6), FOUR, settled=False) == 4
    assert decided(4, replace(light, share=0.6), FOUR, settled=False) == 4
    assert decided(4, replace(light, running=3), FOUR, settled=False) == 4
    assert decided(30, replace(light, running=30), FOUR, settled=False) == 40


def test_what_the_last_job_used_is_forgotten_where_nothing_renders() -> None:
    gauge, renders = Gauge(), Renders()
    admission = Admission("auto", gauge=gauge, renders=renders)
    renders.share = 0.05
    assert limits(admission, gauge, renders, 2.0, 4.0) > 8
    renders.running = 0
    gauge.pass_time(1.0, 4.0)
    assert admission.limit == 4
    assert limits(admission, gauge, renders, 0.5, 4.0) < 8


def test_a_short_idle_moment_of_a_busy_machine_changes_nothing() -> None:
    gauge, renders = Gauge(), Renders()
    admission = Admission("auto", gauge=gauge, renders=renders)
    assert limits(admission, gauge, renders, 5.0, 0.0) == 4
    assert limits(admission, gauge, renders, 0.25, 1.0) == 4
    assert limits(admission, gauge, renders, 5.0, 0.0) == 4


def test_other_programs_keep_auto_at_the_cores() -> None:
    gauge, renders = Gauge(), Renders()
    admission = Admission("auto", gauge=gauge, renders=renders)
    assert limits(admission, gauge, renders, SETTLE * 20, 0.1) == 4


def makespan(works: list[float], cores: int, slots: int | None, *, look: float = LOOK, asleep: float = 0.65) -> float:
    """Seconds that renders take which sleep at their start, then need so much processor time; None: slots auto.

    The processors are shared evenly; the worker looks at its limit every `look` seconds and when a render ends.
    """
    gauge, renders, step, used = Gauge(), Renders(), 0.01, [0.0, 0.0]
    gauge.cores = cores
    admission = Admission("auto" if slots is None else slots, gauge=gauge, renders=renders)
    waiting, running, begun = works[::-1], [], gauge.time
    looked, allowed = gauge.time, admission.limit
    while waiting or running:
        while waiting and len(running) < allowed:
            work = waiting.pop()
            running.append([asleep, work, work, gauge.time])
        renders.running = len(running)
        busy = [one for one in running if one[0] <= 0]
        for one in running:
            if one[0] > 0:
                one[0] -= step
            else:
                one[1] -= step * min(1.0, cores / len(busy))
        gauge.pass_time(step, max(cores - len(busy), 0))
        left = [one for one in running if one[1] > 0]
        for work, began in [one[2:] for one in running if one[1] <= 0]:
            used = [used[0] + work, used[1] + gauge.time - began]
            renders.share = used[0] / used[1]
        if len(left) < len(running) or gauge.time - looked >= look:
            looked, allowed = gauge.time, admission.limit
        running = left
    return gauge.time - begun


@pytest.mark.parametrize("cores", [1, 2, 4, 8])
@pytest.mark.parametrize("seconds", [0.3, 0.5, 1.0, 2.0, 8.0])
def test_auto_is_nearly_as_fast_as_the_best_fixed_number(cores: int, seconds: float) -> None:
    works = [seconds * (0.7 + 0.6 * (number * 7 % 10) / 10) for number in range(30 * cores)]
    best = min(makespan(works, cores, slots) for slots in (cores, cores * 3 // 2, cores * 2))
    assert makespan(works, cores, None) <= 1.08 * best


@pytest.mark.parametrize("cores", [1, 2, 4, 8])
def test_short_frames_fill_the_processor_soon(cores: int) -> None:
    """Frames that compute for 30 ms, and sleep for 650."""
    works = [0.03] * (20 * cores)
    assert makespan(works, cores, None) <= 1.1 * makespan(works, cores, 8 * cores)


def test_auto_stays_at_the_cores_where_renders_use_all_of_theirs() -> None:
    works = [1.0 + number % 3 for number in range(60)]
    assert makespan(works, 2, None, asleep=0.0) == pytest.approx(makespan(works, 2, 2, asleep=0.0), abs=0.05)


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four processors with 1000, 2000, 3000 and 4000 ticks of idle time; 8 GiB, 6 of them available."""
    lines = [f"cpu{n} 500 0 500 {1000 * (n + 1)} 99 0 0 0 0 0" for n in range(4)]
    return write(
        tmp_path,
        proc__stat="cpu 2000 0 2000 10000 396 0 0 0 0 0\n" + "\n".join(lines) + "\nintr 5\n",
        proc__meminfo=f"MemTotal: {8 * MIB} kB\nMemFree: 1 kB\nMemAvailable: {6 * MIB} kB\n",
    )


ALL = frozenset(range(4))


def test_a_machine_without_limits_is_read(root: Path) -> None:
    machine = Machine(root, ALL)
    sample = machine.sample()
    assert (machine.cores, machine.memory) == (4, 8 * 1024 * MIB)
    assert (sample.idle, sample.used, sample.memory) == (100.0, None, 6 * 1024 * MIB)


def test_only_the_processors_that_we_may_use_count(root: Path) -> None:
    machine = Machine(root, frozenset({1, 3}))
    assert machine.cores == 2
    assert machine.sample().idle == 60.0


def test_free_cores_are_bounded_by_what_we_may_use(root: Path) -> None:
    machine = Machine(root, frozenset({1, 3}))

    def at(time: float, idle: float) -> Sample:
        return Sample(time=time, idle=idle, used=None, memory=0)

    assert machine.free(at(0, 0), at(2, 3)) == 1.5
    assert machine.free(at(0, 0), at(1, 9)) == 2.0


def test_limits_of_control_groups_version_2_are_honoured(root: Path) -> None:
    group = root / "sys/fs/cgroup/farm/worker"
    group.mkdir(parents=True)
    (root / "proc/self").mkdir()
    (root / "proc/self/cgroup").write_text("0::/farm/worker\n")
    write(group.parent, cpu_dot_max="150000 100000\n", cpu_dot_stat="usage_usec 7000000\nuser_usec 1\n")
    write(group, cpu_dot_max="max 100000\n", memory_dot_max=f"{1000 * MIB}\n", memory_dot_current=f"{700 * MIB}\n")
    write(group, memory_dot_stat=f"anon 5\ninactive_file {200 * MIB}\n")
    machine = Machine(root, ALL)
    sample = machine.sample()
    assert (machine.cores, machine.memory) == (2, 1000 * MIB)
    assert (sample.used, sample.memory) == (7.0, 500 * MIB)
    later = Sample(time=sample.time + 1, idle=sample.idle + 3, used=8.0, memory=0)
    assert machine.free(sample, later) == pytest.approx(0.5)


def test_limits_of_control_groups_version_1_are_honoured(root: Path) -> None:
    (root / "proc/self").mkdir()
    (root / "proc/self/cgroup").write_text("4:memory:/box/1\n2:cpuacct:/box/1\n1:cpu:/box/1\n0::/\n")
    groups = root / "sys/fs/cgroup"
    write(groups / "cpu/box/1", cpu_dot_cfs_quota_us="300000", cpu_dot_cfs_period_us="100000")
    write(groups / "cpu", cpu_dot_cfs_quota_us="-1", cpu_dot_cfs_period_us="100000")
    write(groups / "cpuacct/box/1", cpuacct_dot_usage="5000000000")
    write(groups / "memory/box/1", memory_dot_limit_in_bytes=f"{900 * MIB}", memory_dot_usage_in_bytes=f"{MIB}")
    write(groups / "memory", memory_dot_limit_in_bytes="9223372036854771712", memory_dot_usage_in_bytes="5")
    machine = Machine(root, ALL)
    sample = machine.sample()
    assert (machine.cores, machine.memory) == (3, 900 * MIB)
    assert (sample.used, sample.memory) == (5.0, 899 * MIB)


def test_this_machine_can_be_read() -> None:
    machine = Machine()
    sample = machine.sample()
    assert machine.cores >= 1
    assert 0 < sample.memory <= machine.memory
    assert Admission("auto").limit >= 1
