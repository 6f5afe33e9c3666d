"""Short frames: POV-Ray frames that compute for a hundredth of a second, one to a process of the farm, against runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks import xargs
from benchmarks.farm import BenchFarm
from benchmarks.measure import Row, in_turns
from distren import Farm

FRAMES, RUN = 80, 5
SIZE = (160, 120)
SCENE = """#version 3.7;
global_settings { assumed_gamma 1 }
camera { location <0, 1, -5> look_at 0 }
light_source { <5, 9, -7> rgb 1 }
plane { y, -1 pigment { checker rgb 1, rgb 0.3 } }
sphere { <sin(2 * pi * clock), 0, 0>, 1 pigment { rgb <0.9, 0.4, 0.1> } finish { reflection 0.2 } }
"""


def rows(farm: BenchFarm, rounds: int) -> list[Row]:
    cores = os.cpu_count() or 1
    scene = farm.folder / "short.pov"
    scene.write_text(SCENE, "ascii")
    runs, single = f"runs of {RUN}, xargs -P{2 * cores}", f"xargs -P{8 * cores}"
    with farm.worker("povray"), farm.client() as client:
        sides: dict[str, Callable[[], float]] = {
            "distren": partial(on_farm, client, scene),
            runs: partial(by_xargs, scene, farm.folder / "xargs", 2 * cores, RUN),
            single: partial(by_xargs, scene, farm.folder / "xargs", 8 * cores, 1),
        }
        samples = in_turns(rounds, sides)
    speeds = {name: FRAMES / median(seconds) for name, seconds in samples.items()}
    return [
        Row(
            name="short frames",
            what=f"{FRAMES} POV-Ray frames of {SIZE[0]}x{SIZE[1]}, one to a process: frames per second of the farm / "
            f"of {runs} ({speeds['distren']:.1f} / {speeds[runs]:.1f}; {single}: {speeds[single]:.1f})",
            figure=speeds["distren"] / speeds[runs],
            unit="x",
            need="at least",
            bar=1.0,
            samples=samples,
            notes={"frames": FRAMES, "size": SIZE, "cores": cores, "frames per second": speeds},
        )
    ]


def on_farm(client: Farm, scene: Path) -> float:
    """Seconds from before the submission to the job being done."""
    start = time.monotonic()
    client.submit(scene, frames=f"1-{FRAMES}", width=SIZE[0], height=SIZE[1]).wait(timeout=600)
    return time.monotonic() - start


def by_xargs(scene: Path, folder: Path, at_once: int, run: int) -> float:
    """Seconds of `at_once` processes of POV-Ray, each of which renders `run` frames with one thread."""
    lines = "".join(f"+SF{first} +EF{first + run - 1}\n" for first in range(1, FRAMES + 1, run))
    arguments = (f"-P{at_once}", "-L1", "povray", *_options(scene, folder))
    return xargs.render(arguments, lines, folder=folder, frames=FRAMES)


def _options(scene: Path, folder: Path) -> Sequence[str]:
    return (
        str(scene), f"+W{SIZE[0]}", f"+H{SIZE[1]}", "+KFI1", f"+KFF{FRAMES}", "+WT1", "-D", "+FN", f"+O{folder}/",
    )  # fmt: skip
