"""Blender: animations on one slot, in a Blender that stays, against its own loop and a process for each frame.

Two scenes: the gyroscope alone, of which a start of Blender is all that a process costs, and a shot with a landscape
and pictures around it (benchmarks/make_shot.py), which takes a while to load, as those of productions do.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy
import OpenImageIO

from benchmarks.farm import BenchFarm
from benchmarks.measure import Row, in_turns, say
from distren import Farm

GYROSCOPE = Path(__file__).parents[2] / "examples" / "gyroscope" / "make_gyroscope.py"
SHOT = Path(__file__).with_name("make_shot.py")
FRAMES = 24
PICTURES, EDGE = 4, 2048
"""of the shot's landscape; pixels"""


@dataclass(frozen=True)
class Scene:
    """A .blend, and the size at which a frame takes about a second on two cores."""

    path: Path
    wide: int
    high: int


def rows(farm: BenchFarm, rounds: int) -> list[Row]:
    light = Scene(farm.folder / "gyroscope.blend", 480, 270)
    _blender("-P", str(GYROSCOPE), "--", str(light.path))
    loaded = Scene(_shot(light.path, farm.folder / "shot"), 256, 144)
    with farm.worker("blender", "--slots", "1"), farm.client() as client:
        lights, loads = (_measured(client, scene, farm.folder / "by hand", rounds) for scene in (light, loaded))
    ours, loop, single = (median(lights[name]) for name in ("distren", "blender -a", "blender -f"))
    our_shot, shot_loop, shot_single = (median(loads[name]) for name in ("distren", "blender -a", "blender -f"))
    return [
        Row(
            name="blender",
            what=f"{FRAMES} Cycles frames on one slot: seconds of the farm, from submit on / of blender -a",
            figure=ours / loop,
            unit="x",
            need="at most",
            bar=1.05,
            samples={name: lights[name] for name in ("distren", "blender -a")},
            notes={"frames": FRAMES, "size": (light.wide, light.high), "the shot's": our_shot / shot_loop},
        ),
        Row(
            name="blender (processes)",
            what=f"{FRAMES} frames of a shot that takes a while to load: seconds of one blender -f N after the other / "
            f"of the farm; of blender -a: {shot_single / shot_loop:.2f}x",
            figure=shot_single / our_shot,
            unit="x",
            need="at least",
            bar=2.0,
            samples=loads,
            notes={
                "frames": FRAMES,
                "size": (loaded.wide, loaded.high),
                "seconds of a start": _timed(lambda: _blender("--python-expr", "0")),
                "seconds of a start that reads the shot": _timed(lambda: _blender(str(loaded.path))),
                "seconds of a process": shot_single / FRAMES,
                "seconds of a frame more": (shot_loop - shot_single / FRAMES) / (FRAMES - 1),
                "blender -a": shot_single / shot_loop,
                "the gyroscope's": single / ours,
                "the gyroscope's, blender -a": single / loop,
            },
        ),
    ]


def _measured(client: Farm, scene: Scene, hand: Path, rounds: int) -> dict[str, list[float]]:
    say(f"  {scene.path.name}, {scene.wide}x{scene.high}")
    sides: dict[str, Callable[[], float]] = {
        "distren": partial(on_farm, client, scene),
        "blender -a": partial(by_its_own_loop, scene, hand),
        "blender -f": partial(by_a_process_each, scene, hand),
    }
    return in_turns(rounds, sides)


def on_farm(client: Farm, scene: Scene) -> float:
    """Seconds from before the submission to the job being done; reading the scene at submit counts."""

    def render() -> None:
        job = client.submit(scene.path, frames=f"1-{FRAMES}", width=scene.wide, height=scene.high)
        job.wait(timeout=1_200)

    return _timed(render)


def by_its_own_loop(scene: Scene, folder: Path) -> float:
    """Seconds of one Blender that renders the animation."""
    return _complete(folder, lambda: _render(scene, folder, "-s", "1", "-e", str(FRAMES), "-a"))


def by_a_process_each(scene: Scene, folder: Path) -> float:
    """Seconds of a Blender for each frame, one after the other."""

    def render() -> None:
        for number in range(1, FRAMES + 1):
            _render(scene, folder, "-f", str(number))

    return _complete(folder, render)


def _render(scene: Scene, folder: Path, *what: str) -> None:
    size = f"r = __import__('bpy').context.scene.render; r.resolution_x, r.resolution_y = {scene.wide}, {scene.high}"
    _blender(str(scene.path), "--python-expr", size, "-o", str(folder / "####"), *what)


def _complete(folder: Path, render: Callable[[], None]) -> float:
    """Seconds that `render` takes; it has to leave all frames in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    took = _timed(render)
    made = len(list(folder.glob("*.png")))
    if made != FRAMES:
        raise RuntimeError(f"Blender made {made} of {FRAMES} frames")
    return took


def _timed(work: Callable[[], None]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


def _shot(gyroscope: Path, folder: Path) -> Path:
    """The gyroscope in a landscape, with its pictures in `folder`."""
    folder.mkdir()
    pictures = [folder / f"weathered{number}.png" for number in range(1, PICTURES + 1)]
    for number, picture in enumerate(pictures, start=1):
        _draw(picture, number)
    scene = folder / "shot.blend"
    _blender(str(gyroscope), "-P", str(SHOT), "--", str(scene), *map(str, pictures))
    return scene


def _draw(picture: Path, number: int) -> None:
    """Grain on waves, the same each time."""
    line = numpy.linspace(0, 2 * numpy.pi, EDGE, endpoint=False)
    waves = 32 + 32 * numpy.outer(numpy.cos((number + 1) * line), numpy.sin(number * line))
    grain = numpy.random.default_rng(number).integers(24, size=(EDGE, EDGE, 3))
    pixels = OpenImageIO.ImageBuf((waves[..., None] + grain).astype(numpy.uint8))
    if not pixels.write(str(picture)):
        raise RuntimeError(f"{picture} can not be written: {pixels.geterror()}")


def _blender(*arguments: str) -> None:
    command = ("blender", "--factory-startup", "-b", "-noaudio", "--python-exit-code", "7", *arguments)
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
