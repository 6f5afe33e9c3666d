"""Dispatch: how many frames per second pass through the farm where the rendering takes no time, against Celery."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks import trivial
from benchmarks.celery_side import CeleryFarm
from benchmarks.farm import BenchFarm
from benchmarks.measure import Row, in_turns
from distren import Farm

FRAMES = 2_000
SLOTS = 2
CELERY = "celery"
SANDBOXES = {"dispatch": "off", "dispatch (sandbox)": "auto"}
"""the worker's setting: Celery starts its programs as they are, DistRen by default in a sandbox"""


def rows(farm: BenchFarm, rounds: int) -> Iterator[Row]:
    scene = trivial.scene(farm.folder / "trivial")
    with CeleryFarm(farm.broker_url, farm.folder, SLOTS) as rival:
        samples = in_turns(
            rounds,
            {name: partial(frames_a_second, farm, scene, sandbox) for name, sandbox in SANDBOXES.items()}
            | {CELERY: lambda: FRAMES / rival.seconds(FRAMES)},
        )
    for name, sandbox in SANDBOXES.items():
        where = "not in a sandbox" if sandbox == "off" else "each in a sandbox"
        yield Row(
            name=name,
            what=f"{FRAMES} frames of /bin/true {where}, {SLOTS} slots: frames/s / Celery's tasks/s, all recorded",
            figure=median(samples[name]) / median(samples[CELERY]),
            unit="x",
            need="at least",
            bar=1.0,
            samples={name: samples[name], CELERY: samples[CELERY]},
            notes={"unit of the samples": "frames/s"},
        )


def frames_a_second(farm: BenchFarm, scene: Path, sandbox: str) -> float:
    with farm.worker(trivial.RENDERER, "--slots", str(SLOTS), sandbox=sandbox) as _, farm.client() as client:
        warm_up(client, scene)
        start = time.monotonic()
        client.submit(scene, frames=f"1-{FRAMES}").wait(timeout=600)
        return FRAMES / (time.monotonic() - start)


def warm_up(client: Farm, scene: object) -> None:
    client.submit(str(scene), frames="1-20").wait(timeout=120)
