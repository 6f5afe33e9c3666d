"""Blender as a renderer: a scene is loaded once by each slot of a worker, and then rendered frame after frame."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from distren import resources
from distren.renderers.blender import gather, opengl, settings
from distren.renderers.blender import program as blender
from distren.renderers.declaration import TILE
from distren.renderers.protocol import AttemptFailed, Capability, Command, Progress, Scene, Task, Trouble

OLDEST = (3, 0)
"""the oldest version that the driver was written for"""
OPENGL = "blender:opengl"
"""the capability of a worker that can render with EEVEE and Workbench too"""
_NO_OPENGL = (
    "only Cycles: EEVEE and Workbench need OpenGL through EGL (on Debian: apt install libegl1 libgl1-mesa-dri, or the "
    "graphics card's driver)"
)
_VERSION = re.compile(r"^Blender (\d+)\.(\d+)(?:\.(\d+))?", re.MULTILINE)
_SAMPLES = re.compile(r"Sample (\d+)/(\d+)")
_FRAME = re.compile(r"Fra:\d+ ")
_RENDERED = re.compile(r"\| (?:Finished|Compositing)")
_READ_ERROR = re.compile(
    r"(?:Error: )?(?:Cannot read file|File format is not supported|Failed to read|.*not a blend file).*"
)
_UNTIL_SAVED = 99.0
"""per cent; the last sample is not the end of a frame"""
_TILE = tuple(setting.name for setting in TILE)


class Blender:
    """The adapter; see docs/reference/blender.md for what a job may say."""

    name = "blender"
    declaration = settings.DECLARATION

    def probe(self, program: str | None) -> Capability:
        found = blender.find(program)
        if found is None:
            hint = "install it (Debian: apt install blender; else: pip install bpy), or say where it is in 'programs'"
            return Capability(missing=f"the program '{program or self.name}' is not there: {hint}")
        try:
            ran = subprocess.run(
                (*found, "--version"), capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return Capability(missing=f"the program '{found[0]}' can not be run: {error}")
        version = _VERSION.search(ran.stdout.decode("utf-8", "replace"))
        if version is None:
            return Capability(missing=f"the program '{found[0]}' does not say that it is Blender")
        numbers = ".".join(number for number in version.groups() if number)
        if (int(version[1]), int(version[2])) < OLDEST:
            return Capability(missing=f"Blender {numbers} is too old: install 3.4 or newer")
        if not opengl.is_here():
            return Capability(version=numbers, missing=_NO_OPENGL, offers={self.name: numbers})
        return Capability(version=numbers, offers={self.name: numbers, OPENGL: numbers})

    def capability(self, settings: Mapping[str, str]) -> str:
        """What a worker has that can render with these settings; submit fills in the engine that the file names."""
        return OPENGL if settings.get("engine") in ("eevee", "workbench") else self.name

    def accepts(self, path: Path) -> bool:
        return self.declaration.accepts(path)

    def read_scene(self, path: Path, settings: Mapping[str, str]) -> Scene:
        return gather.read_scene(path, settings)

    def check(self, values: Mapping[str, str]) -> None:
        self.declaration.check(values)

    def command(self, task: Task, program: str | None) -> Command:
        self.check(task.settings)
        scene = task.inputs.absolute() / task.settings["blend"]
        if not scene.is_file() or not scene.resolve().is_relative_to(task.inputs.resolve()):
            raise AttemptFailed(
                f"the job holds no scene '{task.settings['blend']}': correct its settings", permanent=True
            )
        drivers = resources.folder("workers") / "blender"
        call = (*blender.called(program), *_options(task), str(scene))
        argv = (*call, "-P", str(drivers / "driver.py"), "--", _plan(task))
        return Command(argv=argv, reads=(drivers,), request=_request(task))

    def read_line(self, line: str) -> Progress | Trouble | None:
        if _FRAME.match(line):
            done = _SAMPLES.search(line)
            share = int(done[1]) / max(int(done[2]), 1) if done else float(_RENDERED.search(line) is not None)
            return Progress(min(100 * share, _UNTIL_SAVED))
        if _READ_ERROR.match(line):
            return Trouble(line.strip().removeprefix("Error: "), permanent=True)
        return Trouble(line.strip().removeprefix("Error: ")) if line.startswith("Error: ") else None


def _options(task: Task) -> Iterator[str]:
    yield from ("--factory-startup", "-b", "-noaudio")
    yield "--enable-autoexec" if task.scripts else "--disable-autoexec"
    yield from ("--python-exit-code", "7")
    if "threads" in task.settings:
        yield from ("-t", task.settings["threads"])


def _plan(task: Task) -> str:
    """What the driver needs to know before the first frame; the same for all frames of a job in one slot."""
    return json.dumps(
        {
            "name": re.sub(r"[^\w.-]", "_", Path(task.settings["blend"]).stem),
            "size": [task.width, task.height],
            "settings": {name: value for name, value in sorted(task.settings.items()) if name not in _TILE},
            "slot": task.slot,
            "scripts": task.scripts,
        },
        ensure_ascii=True,
    )


def _request(task: Task) -> Mapping[str, object]:
    """What the driver needs to know for this frame."""
    request: dict[str, object] = {"frame": task.frame}
    if _TILE[0] in task.settings:
        request["tile"] = [int(task.settings[name]) for name in _TILE]
    return request
