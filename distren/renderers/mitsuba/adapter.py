"""Mitsuba 3 as a renderer: each frame is rendered by a Python process of its own, with one thread."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from distren.renderers.declaration import TILE
from distren.renderers.mitsuba import gather
from distren.renderers.mitsuba.settings import DECLARATION, FORMATS, PARAMETER
from distren.renderers.protocol import AttemptFailed, Capability, Command, ExpectedFile, Progress, Scene, Task, Trouble

PROGRAM = Path(__file__).with_name("program.py")
_VERSION = "import mitsuba; print(mitsuba.__version__)"
_BAR = re.compile(r"Rendering \[(=*)( *)\]")
_INSTALL = "pip install 'distren[mitsuba]'"
_NEEDS = "on Debian its libraries need 'apt install libatomic1'"


class Mitsuba:
    """The adapter; see docs/reference/mitsuba.md. The `program` that an owner configures is a Python with Mitsuba."""

    name = "mitsuba"
    declaration = DECLARATION

    def probe(self, program: str | None) -> Capability:
        python = program or sys.executable
        try:
            ran = subprocess.run(
                (python, "-I", "-c", _VERSION), capture_output=True, text=True, timeout=30, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return Capability(missing=f"the Python '{python}' can not be run: {error}")
        found = ran.stdout.strip()
        if re.fullmatch(r"\d[\w.]*", found):
            return Capability(version=found)
        why = ran.stderr.strip().rpartition("\n")[2]
        if not why or "No module named 'mitsuba'" in why:
            where = _INSTALL if program is None else "install it there"
            return Capability(missing=f"the Python '{python}' has no package mitsuba: {where}")
        return Capability(missing=f"mitsuba does not start ({why}): {_NEEDS}")

    def accepts(self, path: Path) -> bool:
        return self.declaration.accepts(path) and path.name != "distrenjob.xml"

    def read_scene(self, path: Path, settings: Mapping[str, str] = MappingProxyType({})) -> Scene:
        return gather.read_scene(path, settings)

    def check(self, settings: Mapping[str, str]) -> None:
        self.declaration.check(settings)

    def command(self, task: Task, program: str | None) -> Command:
        self.check(task.settings)
        settings = task.settings
        scene = task.inputs / settings["scene"]
        if not scene.is_file() or not scene.resolve().is_relative_to(task.inputs.resolve()):
            raise AttemptFailed(f"the job holds no scene '{settings['scene']}': correct its settings", permanent=True)
        endings = FORMATS[settings.get("format", "both")]
        stem = scene.stem if task.first == task.last else f"{scene.stem}{task.frame:0{len(str(task.last))}d}"
        names = [f"{stem}.{ending}" for ending in endings]
        tile = _tile(settings)
        order = {
            "scene": str(scene.absolute()),
            "outputs": names,
            "size": [task.width, task.height],
            "spp": _number(settings, "spp"),
            "seed": int(settings.get("seed", "0")) + task.frame % 2**30,
            "integrator": settings.get("integrator"),
            "max_depth": _number(settings, "max_depth"),
            "tile": tile,
            "parameters": {
                name.partition(".")[2]: value for name, value in settings.items() if name.startswith(f"{PARAMETER}.")
            },
            "frame": {"frame": str(task.frame), "clock": str(_clock(task))},
        }
        width, height = tile[2:] if tile else (task.width, task.height)
        outputs = (ExpectedFile(name=name, image=True, width=width, height=height) for name in names)
        argv = (program or sys.executable, "-I", str(PROGRAM), json.dumps(order))
        return Command(argv=argv, outputs=tuple(outputs), reads=_reads(program))

    def read_line(self, line: str) -> Progress | Trouble | None:
        if done := _BAR.match(line):
            return Progress(100 * len(done[1]) / len(done[1] + done[2]))
        if wrong := re.fullmatch(r"(scene|render) error: (.*)", line):
            return Trouble(wrong[2], permanent=wrong[1] == "scene")
        return None


def _reads(program: str | None) -> tuple[Path, ...]:
    """What another Python than the worker's needs: itself, and where it is a virtual environment, the one below."""
    if program is None:
        return ()
    return (PROGRAM, Path(program).absolute().parents[1], Path(program).resolve().parents[1])


def _number(settings: Mapping[str, str], name: str) -> int | None:
    return int(settings[name]) if name in settings else None


def _tile(settings: Mapping[str, str]) -> list[int]:
    """Left, top, width and height; empty for the whole image."""
    return [int(settings[setting.name]) for setting in TILE if setting.name in settings]


def _clock(task: Task) -> float:
    """0 in the first frame and 1 in the last, as in POV-Ray; 0 in a still."""
    return (task.frame - task.first) / (task.last - task.first) if task.last > task.first else 0.0
