"""Sandbox: what a frame costs in it, against the same program started without any."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.efficiency import SCENE, SIZE, scene
from benchmarks.farm import BenchFarm
from benchmarks.measure import Row, in_turns
from distren.renderers.protocol import Command
from distren.worker import process
from distren.worker.limits import Limits
from distren.worker.sandbox import Mode, Sandbox, View

RUNS = 50
"""runs of /bin/true in one sample"""
FRAMES = 6
"""frames of POV-Ray in one sample"""
MODES = {"on": Mode.SANDBOX, "off": Mode.BARE}


def rows(farm: BenchFarm, rounds: int) -> Iterator[Row]:
    size = (f"+W{SIZE[0]}", f"+H{SIZE[1]}", "+WT1", "-D", "+FN", "+KFI1", "+KFF60", "+SF{}", "+EF{}", "+O./")
    povray = ("povray", str(scene()), f"+L{SCENE}", *size)
    nothing: dict[str, Callable[[], float]] = {
        name: partial(milliseconds, farm.folder, mode, ("true",), RUNS) for name, mode in MODES.items()
    }
    frames: dict[str, Callable[[], float]] = {
        name: partial(milliseconds, farm.folder, mode, povray, FRAMES) for name, mode in MODES.items()
    }
    samples = in_turns(rounds, nothing)
    cost = median(samples["on"]) - median(samples["off"])
    yield Row(
        name="sandbox",
        what="a run of /bin/true by a worker in the sandbox, longer than without bubblewrap by",
        figure=cost,
        unit="ms",
        need="at most",
        bar=15.0,
        samples=samples,
        notes={"runs": RUNS, "unit of the samples": "ms for a run"},
    )
    samples = in_turns(rounds, frames)
    yield Row(
        name="sandbox (povray)",
        what=f"{FRAMES} POV-Ray frames, one after the other: seconds in the sandbox / without bubblewrap",
        figure=median(samples["on"]) / median(samples["off"]),
        unit="x",
        need="at most",
        bar=1.05,
        samples=samples,
        notes={"frames": FRAMES, "size": SIZE, "unit of the samples": "ms for a frame"},
    )


def milliseconds(folder: Path, mode: Mode, argv: tuple[str, ...], runs: int) -> float:
    """Milliseconds of wall time for each run of a program, as a worker starts it; `{}` is the run's number."""
    taken = 0.0
    for number in range(1, runs + 1):
        place = Path(tempfile.mkdtemp(dir=folder))
        view = View(folder=place / "output", temporary=place / "tmp", readable=(SCENE,))
        view.folder.mkdir()
        view.temporary.mkdir()
        start = time.monotonic()
        outcome = process.run(
            Command(argv=tuple(part.format(number) for part in argv)),
            sandbox=Sandbox(mode=mode),
            view=view,
            read_line=lambda _: None,
            on_progress=lambda _: None,
            limits=Limits(time=600),
            stop=process.Stop(),
        )
        taken += time.monotonic() - start
        shutil.rmtree(place)
        if outcome.trouble is not None:
            raise RuntimeError(f"{argv[0]}: {outcome.trouble.text}")
    return taken / runs * 1000
