"""A renderer that runs /bin/true for each frame: what is left to measure is the farm itself.

Its scene is any file whose name ends in `.true`; the whole folder beside it travels as the seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from distren.errors import SceneError
from distren.renderers.declaration import Declaration, Kind, Setting
from distren.renderers.protocol import Capability, Command, Progress, Scene, Task, Trouble

PROGRAM = "/bin/true"


class TrueRenderer:
    """The adapter; its frames have no output files, so their tarballs are empty."""

    name = "true"
    declaration = Declaration(
        title="true",
        about="Does nothing, well: a benchmark of the farm itself",
        endings=(".true",),
        settings=(Setting(name="scene", kind=Kind.PATH, meaning="the path of the scene in the seed"),),
    )

    def probe(self, program: str | None) -> Capability:
        return Capability(version="1") if Path(PROGRAM).exists() else Capability(missing=f"{PROGRAM} is missing")

    def accepts(self, path: Path) -> bool:
        return self.declaration.accepts(path)

    def read_scene(self, path: Path, settings: Mapping[str, str]) -> Scene:
        if not path.is_file():
            raise SceneError(f"there is no scene {path}")
        files = tuple(found.relative_to(path.parent) for found in sorted(path.parent.rglob("*")) if found.is_file())
        return Scene(root=path.parent, files=files, settings={"scene": path.name})

    def check(self, settings: Mapping[str, str]) -> None:
        self.declaration.check(settings)

    def command(self, task: Task, program: str | None) -> Command:
        return Command(argv=(PROGRAM,))

    def read_line(self, line: str) -> Progress | Trouble | None:
        return None
