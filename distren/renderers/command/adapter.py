"""Programs that a worker's owner has listed, as a renderer: a job names one, and never carries a path or a shell line.

Each listed program is a capability of its own (`command:NAME`), so that a server sends a frame only to workers that
list what its job names. What a job may say beside the name is declared by the owner, with choices or a pattern.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from distren.errors import JobFileError, SceneError
from distren.renderers.command import listed
from distren.renderers.command.listed import Listed, Values
from distren.renderers.declaration import Declaration, Kind, Setting
from distren.renderers.needed import IMAGES
from distren.renderers.protocol import AttemptFailed, Capability, Command, ExpectedFile, Progress, Scene, Task, Trouble

if TYPE_CHECKING:
    from distren.config import Settings  # what examines jobs starts without

SETTING = "setting"

DECLARATION = Declaration(
    title="Command",
    about="Programs that the worker's owner has listed under [commands] in its configuration",
    needed=("name",),
    settings=(
        Setting(
            name="name",
            kind=Kind.TEXT,
            pattern=listed.NAME,
            write="the name of a listed command",
            meaning="which of the listed commands is meant",
            default="none: it must be given",
        ),
        Setting(
            name="input",
            kind=Kind.PATH,
            meaning="the file of the seed that takes the place of {input}",
            default="filled in by submit",
        ),
        Setting(
            name=SETTING,
            names=r"[a-z][a-z0-9_-]{0,31}",
            kind=Kind.TEXT,
            pattern=listed.VALUE,
            write="what the command's owner allows",
            meaning="what takes the place of {setting.NAME}",
            default="the owner's",
        ),
    ),
)


class ListedCommands:
    """The adapter; see docs/how-to/offer-a-command.md. Without `configured` it knows no command."""

    name = "command"
    declaration = DECLARATION

    def __init__(self, commands: Mapping[str, Listed] = MappingProxyType({})) -> None:
        self._commands = commands

    def configured(self, settings: Settings) -> ListedCommands:
        """The adapter with the programs that this machine's owner has listed; raises SettingsError."""
        return ListedCommands(listed.read(settings.commands))

    def capability(self, settings: Mapping[str, str]) -> str:
        """What a worker has that can render with these settings."""
        return _capability(settings.get("name", ""))

    def probe(self, program: str | None) -> Capability:
        if not self._commands:
            return Capability(missing="no command is listed: docs/how-to/offer-a-command.md says how")
        there = {name: one for name, one in self._commands.items() if shutil.which(one.program)}
        gone = [f"the program '{one.program}' of command '{name}' is not there" for name, one in self._commands.items()
                if name not in there]  # fmt: skip
        if not there:
            return Capability(missing=f"{'; '.join(gone)}: install it, or correct the configuration")
        versions = {_capability(name): one.digest for name, one in there.items()}
        allows = {_capability(name): listed.allowance(one) for name, one in there.items()}
        return Capability(version=", ".join(sorted(there)), offers=versions, allows=allows)

    def accepts(self, path: Path) -> bool:
        return False  # any file may be the input of a command, so that no file tells which is meant

    def read_scene(self, path: Path, settings: Mapping[str, str] = MappingProxyType({})) -> Scene:
        if not path.is_file():
            raise SceneError(f"there is no file '{path}': correct the path")
        return Scene(root=path.parent.absolute(), files=(Path(path.name),), settings={"input": path.name})

    def check(self, settings: Mapping[str, str]) -> None:
        self.declaration.check(settings)

    def command(self, task: Task, program: str | None) -> Command:
        self.check(task.settings)
        name = task.settings["name"]
        one = self._commands.get(name)
        if one is None:
            known = ", ".join(sorted(self._commands)) or "none"
            raise AttemptFailed(f"this worker has no command '{name}'; it has {known}")
        given = {key.partition(".")[2]: value for key, value in task.settings.items() if key.startswith(f"{SETTING}.")}
        try:
            values = listed.settings_of(one, given)
        except JobFileError as error:
            raise JobFileError(f"command '{name}': {error}") from error
        plain = self._plain(one, task)
        names = [Values(frame=task.frame, plain=plain, settings=values).filled(output) for output in one.outputs]
        filling = Values(frame=task.frame, plain={**plain, "output": str(task.output / names[0])}, settings=values)
        argv = (one.program, *(filling.filled(argument) for argument in one.arguments))
        outputs = tuple(ExpectedFile(name=file, image=Path(file).suffix.lower() in IMAGES) for file in names)
        # what a line means depends on the command, and `read_line` is asked without knowing which one it is of
        return Command(argv=argv, outputs=outputs, reads=one.reads, read_line=_Lines(one).read)

    def _plain(self, one: Listed, task: Task) -> dict[str, str]:
        places = set(one.places())
        found = {"first": str(task.first), "last": str(task.last)}
        for side, value in (("width", task.width), ("height", task.height)):
            if side in places and value is None:
                raise AttemptFailed(f"this command needs the image's {side}: give --size", permanent=True)
            found[side] = str(value)
        if "input" in places:
            found["input"] = str(_input(task))
        return found

    def read_line(self, line: str) -> Progress | Trouble | None:
        return None


class _Lines:
    """What a listed program says, as its owner has described it."""

    def __init__(self, one: Listed) -> None:
        self._progress = None if one.progress is None else re.compile(one.progress)
        self._trouble = None if one.trouble is None else re.compile(one.trouble)

    def read(self, line: str) -> Progress | Trouble | None:
        if self._progress is not None and (done := self._progress.search(line)):
            try:
                return Progress(min(max(float(done[1]), 0.0), 100.0))
            except (TypeError, ValueError):
                return None
        if self._trouble is not None and (wrong := self._trouble.search(line)):
            return Trouble((wrong[1] or line).strip())
        return None


def _capability(name: str) -> str:
    return f"command:{name}"


def _input(task: Task) -> Path:
    named = task.settings.get("input")
    if named is None:
        raise AttemptFailed("this command needs an input: set input to a file of the seed", permanent=True)
    path = (task.inputs / named).absolute()
    if not path.is_file() or not path.resolve().is_relative_to(task.inputs.resolve()):
        raise AttemptFailed(f"the job holds no file '{named}': correct its settings", permanent=True)
    return path
