"""Mass changes: how long others wait for an answer while a million frames come in, are changed, and go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from benchmarks.farm import BenchFarm
from benchmarks.measure import Row, say
from distren.client.farm import Farm
from distren.client.job import Job

FRAMES = 1_000_000
LIMIT = 500
"""ms that others may wait"""
_EVERY = 0.01
"""seconds between two questions of the other client"""


def rows(farm: BenchFarm, rounds: int) -> Iterator[Row]:
    scene = farm.folder / "changes" / "scene.pov"
    scene.parent.mkdir()
    scene.write_text("sphere { 0, 1 }\n", "utf-8")
    waits: dict[str, list[float]] = {"submit": [], "cancel": [], "retry": [], "cancel named": [], "delete": []}
    with farm.client() as client, farm.client() as other:
        for _ in range(rounds):
            made: list[Job] = []
            waits["submit"].append(
                _longest(other, lambda made=made: made.append(client.submit(scene, frames=f"1-{FRAMES}"))) * 1e3  # type: ignore[misc]
            )
            job = made[0]
            steps: dict[str, Callable[[Job], object]] = {
                "cancel": Job.cancel,
                "retry": Job.retry,
                "cancel named": lambda one: one.cancel(f"1-{FRAMES}x2"),
                "delete": lambda one: one.delete(force=True),
            }
            for name, step in steps.items():
                waits[name].append(_longest(other, lambda step=step, job=job: step(job)) * 1e3)  # type: ignore[misc]
            say("  " + ", ".join(f"{name} {samples[-1]:.0f} ms" for name, samples in waits.items()))
    for name, samples in waits.items():
        yield Row(
            name=f"changes ({name})",
            what=f"the longest that another client waits for an answer while {FRAMES:,} frames: {name}",
            figure=max(samples),
            unit="ms",
            need="at most",
            bar=LIMIT,
            samples={"ms": samples},
        )


def _longest(other: Farm, act: Callable[[], object]) -> float:
    """Seconds of the slowest answer while something is done, and for a second after."""
    over, longest = threading.Event(), [0.0]

    def ask() -> None:
        while not over.wait(_EVERY):
            asked = time.monotonic()
            other.describe(timeout=120)
            longest[0] = max(longest[0], time.monotonic() - asked)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        act()
        time.sleep(1.0)  # what goes on after the answer counts as well
    finally:
        over.set()
        asking.join()
    return longest[0]
