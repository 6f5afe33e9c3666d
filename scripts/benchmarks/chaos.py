"""Chaos: what the same faults, at the same points, cost DistRen and Celery in lost and doubled work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.farm import BenchFarm
from benchmarks.measure import Row, say

sys.path.insert(0, str(Path(__file__).parent.parent / "trials" / "renderer"))

from trials import celery_trial, disk, schedule, trial
from trials.celery_trial import CeleryVerdict, Settings
from trials.checker import Verdict
from trials.course import Course
from trials.farm import Size

SEED, WORKERS = 1, 8
FRAMES, FAULTS = 300, 6
"""of one round: rounds follow each other without a pause, in one trial for each side"""
RIVALS: dict[str, Settings] = {"celery, defaults": "defaults", "celery, acks_late and confirms": "late"}


def rows(farm: BenchFarm, rounds: int) -> Iterator[Row]:
    disks, frames, faults = disk.possible(), rounds * FRAMES, rounds * FAULTS
    size = Size(workers=WORKERS, frames=frames, disks=disks)
    plan = schedule.plan(seed=SEED, frames=frames, faults=faults, workers=WORKERS, disks=disks)
    course = Course(seed=SEED, frames=frames, plan=plan)
    say("chaos: distren")
    ours, _ = trial.run(farm.folder / "chaos", size, course, say)
    theirs = {}
    for name, settings in RIVALS.items():
        say(f"chaos: {name}")
        theirs[name] = celery_trial.run(farm.folder / f"chaos-{settings}", size, course, settings, say)
    for what, allowed in (("lost", 0), ("doubled", 0), ("wasted", frames // 20)):
        yield _row(what, allowed, frames, ours, theirs)


def _row(what: str, allowed: int, frames: int, ours: Verdict, theirs: dict[str, CeleryVerdict]) -> Row:
    samples = {"distren": [float(getattr(ours, what))]} | {
        name: [float(getattr(verdict, what))] for name, verdict in theirs.items()
    }
    others = "; ".join(f"{name}: {getattr(verdict, what)}, {verdict.faults} faults" for name, verdict in theirs.items())
    return Row(
        name=f"chaos ({what})",
        what=f"of {frames} frames with {ours.faults} faults; {others}",
        figure=samples["distren"][0],
        unit="frames",
        need="at most",
        bar=allowed,
        samples=samples,
        notes={name: vars(verdict) for name, verdict in theirs.items()} | {"failures": list(ours.failures)},
    )
