"""Efficiency: a POV-Ray animation on the farm with default settings, against xargs running povray directly."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks import xargs
from benchmarks.farm import BenchFarm
from benchmarks.measure import Row, in_turns
from distren import Farm

SCENE = Path(__file__).parents[2] / "examples" / "bench"
FRAMES = 60
SIZE = (640, 360)


def rows(farm: BenchFarm, rounds: int) -> Iterator[Row]:
    cores = os.cpu_count() or 1
    at_once = {f"xargs -P{count}": count for count in (cores, cores * 3 // 2, cores * 2)}
    with farm.worker("povray"), farm.client() as client:
        sides: dict[str, Callable[[], float]] = {"distren": partial(on_farm, client)}
        sides |= {name: partial(by_xargs, count, farm.folder / "xargs") for name, count in at_once.items()}
        samples = in_turns(rounds, sides)
        sandboxed = [one.sandboxed for one in client.workers() if one.state == "working"]
    ours = median(samples["distren"])
    per_core = median(samples[f"xargs -P{cores}"])
    best = min(at_once, key=lambda name: median(samples[name]))
    notes = {"frames": FRAMES, "size": SIZE, "cores": cores, "sandbox": all(sandboxed)}
    yield Row(
        name="efficiency",
        what=f"{FRAMES} POV-Ray frames: seconds of the farm / of xargs -P{cores}",
        figure=ours / per_core,
        unit="x",
        need="at most",
        bar=1.0,
        samples={name: samples[name] for name in ("distren", f"xargs -P{cores}")},
        notes=notes,
    )
    yield Row(
        name="efficiency (best)",
        what=f"the same / the fastest of xargs -P 1x, 1.5x, 2x the cores (here {best})",
        figure=ours / median(samples[best]),
        unit="x",
        need="at most",
        bar=1.10,
        samples=samples,
        notes=notes | {"best": best},
    )


def on_farm(client: Farm, frames: int = FRAMES) -> float:
    """Seconds from before the submission to the job being done."""
    start = time.monotonic()
    job = client.submit(scene(), frames=f"1-{frames}", width=SIZE[0], height=SIZE[1])
    job.wait(timeout=600)
    return time.monotonic() - start


def by_xargs(at_once: int, folder: Path, frames: int = FRAMES) -> float:
    """Seconds that xargs takes with `at_once` processes of POV-Ray, one frame and one thread each."""
    povray = [
        "povray", str(scene()), f"+L{SCENE}", f"+W{SIZE[0]}", f"+H{SIZE[1]}", "+KFI1", f"+KFF{frames}", "+SF{}",
        "+EF{}", "+WT1", "-D", "+FN", f"+O{folder}/",
    ]  # fmt: skip
    numbers = "\n".join(str(number) for number in range(1, frames + 1))
    return xargs.render((f"-P{at_once}", "-I{}", *povray), numbers, folder=folder, frames=frames, cwd=SCENE)


def scene() -> Path:
    """The scene of the benchmark: an .ini where there is one, since that is what a person would submit."""
    found = sorted(SCENE.glob("*.ini")) or sorted(SCENE.glob("*.pov"))
    if not found:
        raise RuntimeError(f"there is no scene in {SCENE}")
    return found[0]
