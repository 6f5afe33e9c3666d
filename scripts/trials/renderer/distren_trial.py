"""The trial renderer: its frames take a foretold time and give foretold bytes, and each attempt leaves two lines.

This folder on PYTHONPATH is all it takes to install it: the dist-info folder beside this file names the entry point.
The worker's environment says where the lines go (TRIAL_LOG) and who writes them (TRIAL_WORKER).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from distren.errors import SceneError
from distren.renderers.declaration import Declaration, Kind, Setting
from distren.renderers.protocol import Capability, Command, ExpectedFile, Progress, Scene, Task, Trouble

PROGRAM = Path(__file__).with_name("trial_program.py")


class TrialRenderer:
    """The adapter. A scene is a file `*.trial`: JSON that trial_program.py describes."""

    name = "trial"
    declaration = Declaration(
        title="trial",
        about="Writes bytes that can be foretold: for the farm's trials",
        endings=(".trial",),
        settings=(Setting(name="scene", kind=Kind.PATH, meaning="the path of the scene in the seed"),),
    )

    def probe(self, program: str | None) -> Capability:
        return Capability(version="1")

    def accepts(self, path: Path) -> bool:
        return self.declaration.accepts(path)

    def read_scene(self, path: Path, settings: Mapping[str, str] = MappingProxyType({})) -> Scene:
        if not path.is_file():
            raise SceneError(f"there is no scene {path}")
        return Scene(root=path.parent, files=(Path(path.name),), settings={"scene": path.name})

    def check(self, settings: Mapping[str, str]) -> None:
        self.declaration.check(settings)

    def command(self, task: Task, program: str | None) -> Command:
        name = f"frame-{task.frame}.dat"
        scene = task.inputs / task.settings["scene"]
        return Command(
            argv=(sys.executable, "-I", "-S", str(PROGRAM), str(scene), str(task.frame), name),
            environment={each: os.environ.get(each, "") for each in ("TRIAL_LOG", "TRIAL_WORKER")},
            outputs=(ExpectedFile(name=name),),
        )

    def read_line(self, line: str) -> Progress | Trouble | None:
        return None
