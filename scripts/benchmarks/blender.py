"""Blender: an animation on one slot, in a Blender that stays, against its own loop and a process per frame."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.farm import BenchFarm
from benchmarks.measure import Row, in_turns
from distren import Farm

SCRIPT = Path(__file__).parents[2] / "examples" / "gyroscope" / "make_gyroscope.py"
FRAMES = 24
WIDE, HIGH = 480, 270
"""pixels; with these a frame takes about a second on two cores"""


def rows(farm: BenchFarm, rounds: int) -> list[Row]:
    scene = farm.folder / "gyroscope.blend"
    _blender("-P", str(SCRIPT), "--", str(scene))
    hand = farm.folder / "by hand"
    with farm.worker("blender", "--slots", "1"), farm.client() as client:
        sides: dict[str, Callable[[], float]] = {
            "distren": partial(on_farm, client, scene),
            "blender -a": partial(by_its_own_loop, scene, hand),
            "blender -f": partial(by_a_process_each, scene, hand),
        }
        samples = in_turns(rounds, sides)
    ours, loop, single = (median(samples[name]) for name in ("distren", "blender -a", "blender -f"))
    notes = {"frames": FRAMES, "size": (WIDE, HIGH)}
    return [
        Row(
            name="blender",
            what=f"{FRAMES} Cycles frames on one slot: seconds of the farm, from submit on / of blender -a",
            figure=ours / loop,
            unit="x",
            need="at most",
            bar=1.05,
            samples={name: samples[name] for name in ("distren", "blender -a")},
            notes=notes,
        ),
        Row(
            name="blender (processes)",
            what="the same frames: seconds of one blender -f N after the other / of the farm",
            figure=single / ours,
            unit="x",
            need="at least",
            bar=2.0,
            samples={name: samples[name] for name in ("distren", "blender -f")},
            notes=notes,
        ),
    ]


def on_farm(client: Farm, scene: Path) -> float:
    """Seconds from before the submission to the job being done; reading the scene at submit counts."""
    start = time.monotonic()
    job = client.submit(scene, frames=f"1-{FRAMES}", width=WIDE, height=HIGH)
    job.wait(timeout=1_200)
    return time.monotonic() - start


def by_its_own_loop(scene: Path, folder: Path) -> float:
    """Seconds of one Blender that renders the animation."""
    return _timed(folder, lambda: _render(scene, folder, "-s", "1", "-e", str(FRAMES), "-a"))


def by_a_process_each(scene: Path, folder: Path) -> float:
    """Seconds of a Blender for each frame, one after the other."""

    def render() -> None:
        for number in range(1, FRAMES + 1):
            _render(scene, folder, "-f", str(number))

    return _timed(folder, render)


def _render(scene: Path, folder: Path, *what: str) -> None:
    size = f"r = __import__('bpy').context.scene.render; r.resolution_x, r.resolution_y = {WIDE}, {HIGH}"
    _blender(str(scene), "--python-expr", size, "-o", str(folder / "####"), *what)


def _timed(folder: Path, render: Callable[[], None]) -> float:
    shutil.rmtree(folder, ignore_errors=True)
    start = time.monotonic()
    render()
    took = time.monotonic() - start
    made = len(list(folder.glob("*.png")))
    if made != FRAMES:
        raise RuntimeError(f"Blender made {made} of {FRAMES} frames")
    return took


def _blender(*arguments: str) -> None:
    command = ("blender", "--factory-startup", "-b", "-noaudio", "--python-exit-code", "7", *arguments)
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
