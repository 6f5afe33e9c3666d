"""Puts the tiles of an image together: the frames that a merge frame needs are its tiles, by their ids row by row."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

from distren.errors import InputError, SceneError
from distren.renderers import needed, own_program, tiles
from distren.renderers.declaration import Declaration, Kind, Setting
from distren.renderers.protocol import AttemptFailed, Capability, Command, ExpectedFile, Progress, Scene, Task, Trouble

ORDER = ".order.json"
"""what the program is told, in its working directory"""


class Merge:
    """The adapter; it has no scenes of its own: its frames need others."""

    name = "merge"
    declaration = Declaration(
        title="Merge",
        about="Puts the tiles of an image together (--tiles); every worker has it",
        needed=("tiles",),
        settings=(
            Setting(
                name="tiles",
                kind=Kind.TEXT,
                pattern=r"\d{1,3}x\d{1,3}",
                write="columns and rows of tiles, for example 4x4",
                meaning="columns and rows of tiles; the frame needs one frame for each, row by row in the order of ids",
                default="filled in by submit --tiles",
            ),
        ),
    )

    def probe(self, program: str | None) -> Capability:
        return Capability(version=metadata.version("openimageio"))

    def accepts(self, path: Path) -> bool:
        return False

    def read_scene(self, path: Path, settings: Mapping[str, str] = MappingProxyType({})) -> Scene:
        raise SceneError(f"'{path}' is no scene: images are merged out of tiles, with --tiles")

    def check(self, settings: Mapping[str, str]) -> None:
        self.declaration.check(settings)

    def command(self, task: Task, program: str | None) -> Command:
        self.check(task.settings)
        if task.width is None or task.height is None:
            raise AttemptFailed("the size of the merged image is not known: give the job a size", permanent=True)
        parts = self._parts(task)
        folders = [folder for _, folder in needed.frames(task.output)]
        if len(folders) != len(parts):
            text = f"{task.settings['tiles']} tiles are {len(parts)} frames, and it needs {len(folders)}"
            raise AttemptFailed(f"the image can not be merged: {text}", permanent=True)
        names = [path.relative_to(folders[0]).as_posix() for path in needed.images(folders[0])]
        if not names:
            raise AttemptFailed("the tiles hold no images, so there is nothing to merge", permanent=True)
        order = {
            "size": [task.width, task.height],
            "names": names,
            "tiles": [
                {"folder": str(folder.relative_to(task.output)), **asdict(part)}
                for folder, part in zip(folders, parts, strict=True)
            ],
        }
        (task.output / ORDER).write_text(json.dumps(order))
        argv = own_program.arguments("distren.renderers.merge.program", ORDER)
        size = {"width": task.width, "height": task.height}
        return Command(argv=argv, outputs=tuple(ExpectedFile(name=name, image=True, **size) for name in names))

    def _parts(self, task: Task) -> list[tiles.Tile]:
        assert task.width is not None
        assert task.height is not None
        try:
            return tiles.divide(task.width, task.height, tiles.parse(task.settings["tiles"]))
        except InputError as error:
            raise AttemptFailed(str(error), permanent=True) from error

    def read_line(self, line: str) -> Progress | Trouble | None:
        if done := re.fullmatch(r"merged (\d+) of (\d+)", line):
            return Progress(100 * int(done[1]) / int(done[2]))
        return Trouble(line.removeprefix("error: "), permanent=True) if line.startswith("error: ") else None
