"""Latency on an idle farm: how soon the first frame starts, and how soon after the last one the job is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

from benchmarks import trivial
from benchmarks.farm import BenchFarm
from benchmarks.measure import Row, say
from distren import Farm

JOBS = 15
"""jobs of one frame each: a median needs more of them than of the long measurements"""


def rows(farm: BenchFarm, rounds: int) -> Iterator[Row]:
    scene = trivial.scene(farm.folder / "trivial")
    with farm.worker(trivial.RENDERER, "--slots", "2"), farm.client() as client:
        client.submit(scene, frames="1-20").wait(timeout=120)
        taken = [one_job(client, str(scene)) for _ in range(max(JOBS, rounds))]
    starts, ends = [start for start, _ in taken], [end for _, end in taken]
    say(f"  first start {median(starts):.0f} ms, last end to done {median(ends):.0f} ms")
    yield Row(
        name="latency (start)",
        what="from the return of submit to the first frame's start, idle farm, median",
        figure=median(starts),
        unit="ms",
        need="at most",
        bar=150,
        samples={"ms": starts},
    )
    yield Row(
        name="latency (end)",
        what="from the last frame's end to the client knowing that the job is done, median",
        figure=median(ends),
        unit="ms",
        need="at most",
        bar=100,
        samples={"ms": ends},
    )


def one_job(client: Farm, scene: str) -> tuple[float, float]:
    """Milliseconds from submit's return to the frame's start, and from its end to the job being seen done.

    The worker's clock says when the attempt began and how long it took: it is this machine's, as ours.
    """
    job = client.submit(scene, frames="1")
    submitted = time.time()
    job.wait(timeout=60)
    done = time.time()
    (attempt,) = job.attempts(1)
    ended = attempt.started + (attempt.seconds or 0.0)
    time.sleep(0.3)  # the farm is idle again, also with what it does after a job
    return max(0.0, attempt.started - submitted) * 1e3, (done - ended) * 1e3
