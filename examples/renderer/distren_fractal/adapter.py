"""What DistRen has to know of the program: pure functions, which never render anything themselves."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

from distren.errors import SceneError
from distren.renderers.declaration import Declaration, Kind, Setting
from distren.renderers.protocol import Capability, Command, ExpectedFile, Progress, Scene, Task, Trouble

PROGRAM = Path(__file__).with_name("program.py")


class Fractal:
    """The adapter; a scene is a TOML file that ends in `.fractal`."""

    name = "fractal"
    declaration = Declaration(
        title="Fractal",
        about="Zooms into the Mandelbrot set; an example of how to add a renderer",
        endings=(".fractal",),
        needed=("scene",),
        settings=(
            Setting(
                name="scene", kind=Kind.PATH, meaning="the path of the scene in the seed", default="filled in by submit"
            ),
            Setting(
                name="iterations",
                kind=Kind.WHOLE,
                lowest=1,
                highest=10_000,
                meaning="how long a point is followed",
                default="100",
            ),
            Setting(name="colours", words=("fire", "ice"), meaning="where there is no palette", default="fire"),
        ),
    )

    def probe(self, program: str | None) -> Capability:
        """Ask the program for its version, or say in one line what to install."""
        command = _program(program)
        try:
            ran = subprocess.run((*command, "--version"), capture_output=True, text=True, timeout=30, check=False)
        except OSError as error:
            return Capability(missing=f"{command[0]} can not be run: {error.strerror}")
        found = re.fullmatch(r"fractal (\S+)\n", ran.stdout)
        if found is None:
            return Capability(missing=f"{command[0]} does not say that it is Fractal: correct 'programs'")
        return Capability(version=found[1])

    def accepts(self, path: Path) -> bool:
        return self.declaration.accepts(path)

    def read_scene(self, path: Path, settings: Mapping[str, str]) -> Scene:
        """What has to travel: the scene, and the palette that it names."""
        try:
            scene = tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise SceneError(f"'{path}' can not be read: {error}") from error
        files = [Path(path.name)]
        if palette := scene.get("palette"):
            if not (path.parent / palette).is_file():
                raise SceneError(f"{path.name}: the palette '{palette}' is not beside it: put it there")
            files.append(Path(palette))
        return Scene(root=path.parent, files=tuple(files), settings={"scene": path.name})

    def check(self, settings: Mapping[str, str]) -> None:
        self.declaration.check(settings)

    def command(self, task: Task, program: str | None) -> Command:
        """The program's arguments for one frame, and the files that it must have written."""
        width, height = task.width or 320, task.height or 240
        name = f"fractal{task.frame:04d}.png"
        settings = {"iterations": "100", "colours": "fire", **task.settings}
        return Command(
            argv=(
                *_program(program),
                str(task.inputs / settings["scene"]),
                name,
                f"--frame={task.frame - task.first}",
                f"--size={width}x{height}",
                f"--iterations={settings['iterations']}",
                f"--colours={settings['colours']}",
            ),
            reads=(PROGRAM,),
            outputs=(ExpectedFile(name=name, image=True, width=width, height=height),),
        )

    def read_line(self, line: str) -> Progress | Trouble | None:
        """A line of the program's output: how far it is, or what is wrong."""
        if done := re.fullmatch(r"row (\d+) of (\d+)", line):
            return Progress(100 * int(done[1]) / int(done[2]))
        return Trouble(line.removeprefix("error: "), permanent=True) if line.startswith("error: ") else None


def _program(program: str | None) -> tuple[str, ...]:
    """The program that the worker's owner named; without one, the one in this package, which needs only Python."""
    return (program,) if program else (sys.executable, "-I", str(PROGRAM))
