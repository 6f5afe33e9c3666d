"""Makes a video of the images of the frames that an encode frame needs, in the order of their ids."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

from distren.errors import SceneError
from distren.renderers import needed, own_program
from distren.renderers.encode import settings as words
from distren.renderers.protocol import AttemptFailed, Capability, Command, ExpectedFile, Progress, Scene, Task, Trouble


class Encode:
    """The adapter; it has no scenes of its own: its frames need others."""

    name = "encode"
    declaration = words.DECLARATION

    def probe(self, program: str | None) -> Capability:
        return Capability(version=metadata.version("av"))

    def accepts(self, path: Path) -> bool:
        return False

    def read_scene(self, path: Path, settings: Mapping[str, str] = MappingProxyType({})) -> Scene:
        raise SceneError(f"'{path}' is no scene: a video is made of frames, with --video")

    def check(self, settings: Mapping[str, str]) -> None:
        words.check(settings)

    def command(self, task: Task, program: str | None) -> Command:
        self.check(task.settings)
        name = words.name(task.settings)
        images = [str(_image(frame, folder, task)) for frame, folder in needed.frames(task.output)]
        if not images:
            raise AttemptFailed("there are no frames to make a video of: an encode frame needs others", permanent=True)
        order = {"images": images, "target": name, "settings": dict(task.settings)}
        # thousands of names are too long for an argument; the folder is the only place that all of this may write to
        (task.output / ORDER).write_text(json.dumps(order))
        argv = own_program.arguments("distren.renderers.encode.program", ORDER)
        return Command(argv=argv, outputs=(ExpectedFile(name=name),))

    def read_line(self, line: str) -> Progress | Trouble | None:
        if done := re.fullmatch(r"(?:encoded|merged) (\d+) of (\d+)", line):
            return Progress(100 * int(done[1]) / int(done[2]))
        return Trouble(line.removeprefix("error: "), permanent=True) if line.startswith("error: ") else None


ORDER = ".order.json"
"""what the program is told, in its working directory"""


def _image(frame: int, folder: Path, task: Task) -> Path:
    """The image of a frame that goes into the video, relative to the working directory."""
    wanted = task.settings.get("images", "*")
    images = [path for path in needed.images(folder) if fnmatchcase(path.name, wanted)]
    if not images:
        called = "image" if wanted == "*" else f"image called '{wanted}'"
        raise AttemptFailed(f"frame {frame} holds no {called}, so there is no video to be made of it", permanent=True)
    return images[0].relative_to(task.output)
