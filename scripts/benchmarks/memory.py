"""Memory: how much server and worker grow while a large seed passes through them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks import trivial
from benchmarks.farm import BenchFarm
from benchmarks.measure import Row, say

SEED = 500 * 10**6
"""bytes"""
LIMIT = 150
"""MB above idle"""
_EVERY = 0.02


def rows(farm: BenchFarm, rounds: int) -> Iterator[Row]:
    scene = trivial.scene(farm.folder / "large")
    small = trivial.scene(farm.folder / "trivial")
    growth: dict[str, list[float]] = {"server": [], "worker": []}
    idle: dict[str, list[float]] = {"server": [], "worker": []}
    with farm.worker(trivial.RENDERER, "--slots", "2") as worker, farm.client() as client:
        watched = {"server": farm.server, "worker": worker}
        client.submit(small, frames="1-20").wait(timeout=120)  # everything is imported and warm: this is idle
        for _ in range(rounds):
            random_file(scene.parent / "texture.bin", SEED)  # other bytes each time, so that they travel each time
            before = {name: resident(process) for name, process in watched.items()}
            with peaks(watched) as highest:
                client.submit(scene, frames="1").wait(timeout=300)
            for name in watched:
                idle[name].append(before[name] / 1e6)
                growth[name].append((highest[name] - before[name]) / 1e6)
            say("  " + ", ".join(f"{name} +{samples[-1]:.0f} MB" for name, samples in growth.items()))
    (scene.parent / "texture.bin").unlink()
    for name, samples in growth.items():
        yield Row(
            name=f"memory ({name})",
            what=f"resident memory of the {name} above idle while a seed of {SEED / 1e6:.0f} MB passes, highest",
            figure=max(samples),
            unit="MB",
            need="at most",
            bar=LIMIT,
            samples={"above idle": samples, "idle": idle[name]},
        )


def random_file(path: Path, size: int) -> None:
    """Bytes that nobody has seen and nothing can compress."""
    with path.open("wb") as file:
        for start in range(0, size, 10**7):
            file.write(os.urandom(min(10**7, size - start)))


def resident(process: psutil.Process) -> int:
    """Resident bytes of `process` alone: what it renders with is no part of it."""
    found: int = process.memory_info().rss
    return found


@contextmanager
def peaks(watched: dict[str, psutil.Process]) -> Iterator[dict[str, int]]:
    """The highest resident memory of each process until the end of the `with`, looked at every 20 ms."""
    highest = {name: resident(process) for name, process in watched.items()}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_EVERY):
            for name, process in watched.items():
                highest[name] = max(highest[name], resident(process))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield highest
    finally:
        ended.set()
        thread.join()
