"""Dispatch: how many frames per second pass through the farm where the rendering takes no time, against Celery."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

from benchmarks import trivial
from benchmarks.celery_side import CeleryFarm
from benchmarks.farm import BenchFarm
from benchmarks.measure import Row, in_turns
from distren import Farm

FRAMES = 2_000
SLOTS = 2


def rows(farm: BenchFarm, rounds: int) -> Iterator[Row]:
    scene = trivial.scene(farm.folder / "trivial")

    def distren() -> float:
        start = time.monotonic()
        job = client.submit(scene, frames=f"1-{FRAMES}")
        job.wait(timeout=600)
        return FRAMES / (time.monotonic() - start)

    def celery() -> float:
        return FRAMES / rival.seconds(FRAMES)

    with (
        farm.worker(trivial.RENDERER, "--slots", str(SLOTS)),
        farm.client() as client,
        CeleryFarm(farm.broker_url, farm.folder, SLOTS) as rival,
    ):
        warm_up(client, scene)
        samples = in_turns(rounds, {"distren": distren, "celery": celery})
    yield Row(
        name="dispatch",
        what=f"{FRAMES} frames of /bin/true, {SLOTS} slots: frames/s / Celery's tasks/s, all results recorded",
        figure=median(samples["distren"]) / median(samples["celery"]),
        unit="x",
        need="at least",
        bar=1.0,
        samples=samples,
        notes={"unit of the samples": "frames/s"},
    )


def warm_up(client: Farm, scene: object) -> None:
    client.submit(str(scene), frames="1-20").wait(timeout=120)
