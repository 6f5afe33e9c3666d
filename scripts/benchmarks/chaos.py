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
from trials.farm import Size

SEED, FRAMES, FAULTS, WORKERS = 1, 1_000, 20, 8
RIVALS: dict[str, Settings] = {"celery, defaults": "defaults", "celery, acks_late and confirms": "late"}


def rows(farm: BenchFarm, rounds: int) -> Iterator[Row]:
    disks = disk.possible()
    size = Size(workers=WORKERS, frames=FRAMES, disks=disks)
    plan = schedule.plan(seed=SEED, frames=FRAMES, faults=FAULTS, workers=WORKERS, disks=disks)
    course = trial.Course(seed=SEED, frames=FRAMES, plan=plan)
    ours, _ = trial.run(farm.folder / "chaos", size, course, say)
    theirs = {
        name: celery_trial.run(farm.folder / f"chaos-{settings}", size, course, settings, say)
        for name, settings in RIVALS.items()
    }
    for what, allowed in (("lost", 0), ("doubled", 0), ("wasted", FRAMES // 20)):
        yield _row(what, allowed, ours, theirs)


def _row(what: str, allowed: int, ours: Verdict, theirs: dict[str, CeleryVerdict]) -> Row:
    samples = {"distren": [float(getattr(ours, what))]} | {
        name: [float(getattr(verdict, what))] for name, verdict in theirs.items()
    }
    others = "; ".join(f"{name}: {getattr(verdict, what)}" for name, verdict in theirs.items())
    return Row(
        name=f"chaos ({what})",
        what=f"of {FRAMES} frames with {ours.faults} faults; {others}",
        figure=samples["distren"][0],
        unit="frames",
        need="at most",
        bar=allowed,
        samples=samples,
        notes={name: vars(verdict) for name, verdict in theirs.items()} | {"failures": list(ours.failures)},
    )
