"""A renderer for tests: runs the shell script of its setting `script`, with the frame's number as $1."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from distren.errors import SceneError
from distren.renderers.declaration import Declaration, Kind, Setting
from distren.renderers.protocol import Capability, Command, ExpectedFile, Progress, Scene, Task, Trouble


class Scripted:
    """Its frame N is the file `N.txt`; `$INPUTS` is the folder of the seed.

    `$PROGRAM` is the program that the worker's settings name for it, which tells one worker from another.
    """

    name = "scripted"
    declaration = Declaration(
        title="shell scripts of tests",
        endings=(".script",),
        settings=(Setting(name="script", meaning="what to run", kind=Kind.TEXT, pattern=r"(?s).{1,2000}"),),
    )

    def probe(self, program: str | None) -> Capability:
        return Capability(version="1")

    def accepts(self, path: Path) -> bool:
        return self.declaration.accepts(path)

    def read_scene(self, path: Path, settings: Mapping[str, str] | None = None) -> Scene:
        raise SceneError("submit a folder with a distrenjob.xml")

    def check(self, settings: Mapping[str, str]) -> None:
        self.declaration.check(settings)

    def command(self, task: Task, program: str | None) -> Command:
        return Command(
            argv=("/bin/sh", "-c", task.settings["script"], "sh", str(task.frame)),
            environment={"INPUTS": str(task.inputs), "PROGRAM": program or ""},
            outputs=(ExpectedFile(name=f"{task.frame}.txt"),),
        )

    def read_line(self, line: str) -> Progress | Trouble | None:
        return None
