"""Submit: how long the server takes for a large job whose frames need one another, and how much memory."""

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

FRAMES = 100_000
NEEDS = 3
"""of each frame"""


def rows(farm: BenchFarm, rounds: int) -> Iterator[Row]:
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
