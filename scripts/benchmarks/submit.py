"""Submit: what a frame costs in small, large and huge jobs, with and without dependencies, and how much memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

from benchmarks.farm import BenchFarm
from benchmarks.measure import Row, say
from benchmarks.memory import peaks, resident
from distren.domain import frameset
from distren.domain.job import JobSpec
from distren.domain.needs import Needs
from distren.jobfile.words import FILE_NAME
from distren.jobfile.writer import write_jobfile

SIZES = (1_000, 100_000, 1_000_000)
"""frames of the jobs without dependencies"""
DEARER = 1.5
"""times that a frame of the largest job may cost of what one of the smallest does"""
GROWTH = 50
"""MB that the server may grow for the largest"""
FRAMES = 100_000
NEEDS = 3
"""of each frame"""


def rows(farm: BenchFarm, rounds: int) -> Iterator[Row]:
    yield from _by_size(farm, rounds)
    yield from _with_needs(farm, rounds)


def _by_size(farm: BenchFarm, rounds: int) -> Iterator[Row]:
    seconds: dict[int, list[float]] = {size: [] for size in SIZES}
    growth: dict[int, list[float]] = {size: [] for size in SIZES}
    scene = farm.folder / "plain" / "scene.pov"
    scene.parent.mkdir()
    scene.write_text("sphere { 0, 1 }\n", "utf-8")
    with farm.client() as client:
        client.submit(scene, frames="1").pause()  # everything is imported and warm
        for _ in range(rounds):
            for size in SIZES:
                before = resident(farm.server)
                with peaks({"server": farm.server}) as highest:
                    start = time.monotonic()
                    job = client.submit(scene, frames=f"1-{size}")
                    seconds[size].append(time.monotonic() - start)
                growth[size].append((highest["server"] - before) / 1e6)
                job.pause()
                say(f"  {size:,} frames in {seconds[size][-1]:.2f} s, server +{growth[size][-1]:.0f} MB")
    cost = {size: median(times) / size for size, times in seconds.items()}
    samples = {f"seconds of {size}": times for size, times in seconds.items()}
    rates = ", ".join(f"{1 / cost[size]:,.0f}" for size in SIZES)
    yield Row(
        name="submit",
        what=f"a frame of a job of {SIZES[-1]:,} / of {SIZES[0]:,}, from submit to the job's id ({rates} frames/s)",
        figure=cost[SIZES[-1]] / cost[SIZES[0]],
        unit="x",
        need="at most",
        bar=DEARER,
        samples=samples,
    )
    yield Row(
        name="submit (memory)",
        what=f"resident memory of the server above what it had, while {SIZES[-1]:,} frames are submitted, highest",
        figure=max(growth[SIZES[-1]]),
        unit="MB",
        need="at most",
        bar=GROWTH,
        samples={f"MB of {size}": grown for size, grown in growth.items()},
    )


def _with_needs(farm: BenchFarm, rounds: int) -> Iterator[Row]:
    folder = farm.folder / "chains"
    folder.mkdir()
    (folder / "scene.pov").write_text("sphere { 0, 1 }\n", "utf-8")
    needs = tuple(_chain(distance) for distance in range(1, NEEDS + 1))
    frames = frameset.parse(f"1-{FRAMES}")
    spec = JobSpec(name="chains", renderer="povray", frames=frames, needs=needs, settings={"scene": "scene.pov"})
    (folder / FILE_NAME).write_bytes(write_jobfile(spec))
    seconds: list[float] = []
    growth: list[float] = []
    with farm.client() as client:  # nobody renders: the server alone is measured
        for _ in range(rounds):
            before = resident(farm.server)
            with peaks({"server": farm.server}) as highest:
                start = time.monotonic()
                job = client.submit(folder)
                seconds.append(time.monotonic() - start)
            growth.append((highest["server"] - before) / 1e6)
            say(f"  {seconds[-1]:.1f} s, server +{growth[-1]:.0f} MB")
            job.cancel()
    yield Row(
        name="submit (needs)",
        what=f"seconds to submit {FRAMES:,} frames with {NEEDS * FRAMES:,} dependencies",
        figure=median(seconds),
        unit="s",
        need="at most",
        bar=30,
        samples={"seconds": seconds, "MB of the server above what it had": growth},
    )


def _chain(distance: int) -> Needs:
    """Each frame needs the one that lies so far before it."""
    frames, needed = f"{distance + 1}-{FRAMES}", f"1-{FRAMES - distance}"
    return Needs(frames=frameset.parse(frames), needed=frameset.parse(needed), pairs=True)
