"""POV-Ray 3.7 as a renderer: each frame is rendered by a process of its own, exactly as POV-Ray's own loop would."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from distren.errors import SceneError
from distren.renderers.povray import gather, ini, settings
from distren.renderers.povray.ini import Option
from distren.renderers.povray.standard import STANDARD
from distren.renderers.protocol import (
    AttemptFailed,
    Capability,
    Checkpoint,
    Command,
    ExpectedFile,
    Progress,
    Scene,
    Task,
    Trouble,
)

DEFAULT_SIZE = (800, 600)
"""pixels, where neither the job nor the scene's .ini says more; what Debian's povray.ini says"""
WRAP = 79
"""characters after which POV-Ray breaks its messages"""
_PLAIN_INI = Path(__file__).with_name("plain.ini")
_SYSTEM_INIS = ("/etc/povray/3.7/povray.ini", "/usr/local/etc/povray/3.7/povray.ini")
_PROGRESS = re.compile(r"Rendered (\d+) of (\d+) pixels")
_ERROR = re.compile(r"(?:File '(?P<file>.*?)' line (?P<line>\d+): )?(?P<kind>(?:Parse )?Error): (?P<text>.*)")
_OPTION_ERROR = re.compile(r"(Failed to parse command-line option|Cannot find input file|Could not find .*)")
_WITH_ALPHA = frozenset(("png", "exr", "tga", "bmp"))
"""the formats that POV-Ray writes an alpha channel to"""
_BY_ITSELF = "Timed out waiting for worker thread startup"
"""about one process in a thousand fails so, whatever the scene"""
_PASSING = re.compile(r"Timed out waiting for worker thread startup|(?:Fatal error in \w+|Problem with [\w ]+): .*")


class PovRay:
    """The adapter; see docs/reference/povray.md for what a job may say."""

    name = "povray"
    declaration = settings.DECLARATION

    def probe(self, program: str | None) -> Capability:
        found = shutil.which(program or self.name)
        if found is None:
            hint = "install it (on Debian: apt install povray povray-includes), or set 'povray' to where it is"
            return Capability(missing=f"the program '{program or self.name}' is not there: {hint}")
        try:
            ran = subprocess.run(
                (found, "--version"), capture_output=True, timeout=30, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return Capability(missing=f"the program '{found}' can not be run: {error}")
        version = re.search(
            r"POV-Ray\D{0,40}?(\d+\.\d+(?:\.\d+)*)", (ran.stdout + ran.stderr).decode("utf-8", "replace")
        )
        if version is None:
            return Capability(missing=f"the program '{found}' does not say that it is POV-Ray")
        return Capability(version=version[1])

    def accepts(self, path: Path) -> bool:
        return self.declaration.accepts(path)

    def read_scene(self, path: Path, settings: Mapping[str, str]) -> Scene:
        return gather.read_scene(path)

    def check(self, values: Mapping[str, str]) -> None:
        self.declaration.check(values)

    def command(self, task: Task, program: str | None) -> Command:
        self.declaration.check(task.settings)
        plan = _Plan(task)
        argv = (program or self.name, *plan.arguments())
        width, height = plan.size
        output = ExpectedFile(name=plan.output_name, image=True, width=width, height=height, channels=plan.channels)
        return Command(
            argv=argv,
            outputs=(output,),
            environment=plan.environment,
            reads=(_PLAIN_INI,),
            wraps_at=WRAP,
            checkpoint=plan.checkpoint,
        )

    def read_line(self, line: str) -> Progress | Trouble | None:
        if line.startswith("Rendered "):
            done = _PROGRESS.match(line)
            return Progress(min(100.0, 100 * int(done[1]) / max(int(done[2]), 1))) if done else None
        if "rror" in line:
            error = _ERROR.match(line)
            if error is not None:
                place = f"{Path(error['file']).name} line {error['line']}: " if error["file"] else ""
                return Trouble(f"{place}{error['kind']}: {error['text'].strip()}", permanent=True)
        if _OPTION_ERROR.match(line):
            return Trouble(line.strip(), permanent=True)
        return Trouble(line.strip(), again=_BY_ITSELF in line) if _PASSING.search(line) else None


class _Plan:
    """What one task comes to, from the settings, the scene's .ini, and the job's frames, in that order."""

    def __init__(self, task: Task) -> None:
        self._task, self._settings = task, task.settings
        self._inputs = task.inputs.absolute()
        self._options = self._read_ini()
        self._scene = self._find_scene()
        self.initial, self.final = self._range()
        width, height = (task.width or self._number("Width"), task.height or self._number("Height"))
        self.size = (width or DEFAULT_SIZE[0], height or DEFAULT_SIZE[1])
        self._format, self._bits = self._output_format()

    # -- where things are --------------------------------------------------------------------------------------------

    def _read_ini(self) -> tuple[Option, ...]:
        name = self._settings.get("ini")
        if name is None:
            return ()
        try:
            return ini.read(self._inputs / name, self._settings.get("ini_section"), within=self._inputs)
        except SceneError as error:
            raise AttemptFailed(str(error), permanent=True) from error

    def _find_scene(self) -> Path:
        named = self._settings.get("scene")
        if named is not None:
            scene = self._inputs / named
        else:
            value = ini.last(self._options, "Input_File_Name") or ""
            base = self._inputs / Path(self._settings["ini"]).parent
            scene = next(
                (base / (value + end) for end in ("", ".pov", ".POV") if (base / (value + end)).is_file()), base
            )
        if not scene.is_file() or not scene.resolve().is_relative_to(self._inputs.resolve()):
            raise AttemptFailed(f"the job holds no scene '{named or scene.name}': correct its settings", permanent=True)
        return scene

    @functools.cached_property
    def _folders(self) -> tuple[Path, ...]:
        """Where files are looked for before POV-Ray's own: the folder that POV-Ray would be started in comes first."""
        start = (self._inputs / self._settings["ini"]).parent if "ini" in self._settings else self._scene.parent
        folders = [start, self._scene.parent]
        folders += [self._inputs / part for part in self._settings.get("include", "").split(":") if part]
        for option in self._options:
            if option.name == "Library_Path" and not Path(option.value).is_absolute():
                folders.append(start / option.value)
        real = self._inputs.resolve()
        return tuple(dict.fromkeys(one for one in folders if one.is_dir() and one.resolve().is_relative_to(real)))

    @functools.cached_property
    def _shadows(self) -> bool:
        """Whether the scene brings files that are named like POV-Ray's own: POV-Ray would find its own first."""
        return any(entry.name in STANDARD for folder in self._folders for entry in folder.iterdir())

    @property
    def environment(self) -> Mapping[str, str]:
        return {"POVINI": str(_PLAIN_INI)} if self._shadows else {}

    # -- frames ------------------------------------------------------------------------------------------------------

    def _number(self, name: str) -> int | None:
        text = ini.last(self._options, name)
        return int(text) if text is not None and text.isascii() and text.isdigit() else None

    def _frame(self, name: str) -> int | None:
        text = self._settings.get(name.lower())
        return int(text) if text is not None else self._number(name)

    def _range(self) -> tuple[int, int]:
        """The range of the animation, which decides the clock; both ends are the same for a still."""
        task = self._task
        initial, final = self._frame("Initial_Frame"), self._frame("Final_Frame")
        if final is None:
            final = task.last
            initial = task.first if initial is None else initial
        elif initial is None:
            initial = 1
        if initial != final and not initial <= task.frame <= final:
            raise AttemptFailed(
                f"frame {task.frame} is outside of the animation, which goes from {initial} to {final}: render frames "
                "of that range, or set initial_frame and final_frame",
                permanent=True,
            )
        return initial, final

    @property
    def _is_animation(self) -> bool:
        return self.initial != self.final

    @property
    def _is_cyclic(self) -> bool:
        return ini.is_on(self._settings.get("cyclic", ini.last(self._options, "Cyclic_Animation")))

    # -- output ------------------------------------------------------------------------------------------------------

    def _output_format(self) -> tuple[str, str]:
        """The ending of the image's name, and the bits per colour that the type in an .ini may carry (N16)."""
        written = ini.last(self._options, "Output_File_Type") or "N"
        letters = {letter: name for name, letter in settings.FORMATS.items()} | {"C": "tga"}
        name = self._settings.get("format", letters.get(written[0].upper(), "png"))
        bits = re.search(r"\d+", written)
        return name, bits[0] if bits else ""

    @property
    def channels(self) -> int | None:
        """How many the image has; None where the .ini has a say in it that is not read here (grey, +UA)."""
        if ini.is_on(ini.last(self._options, "Grayscale_Output")) or any(
            option.name == ini.RAW and option.value.upper().endswith("UA") for option in self._options
        ):
            return None
        alpha = self._settings.get("alpha", ini.last(self._options, "Output_Alpha"))
        return 4 if ini.is_on(alpha) and self._format in _WITH_ALPHA else 3

    @property
    def output_name(self) -> str:
        """As POV-Ray names it: the number as wide as the last frame's, to which a cyclic animation adds one frame."""
        stem = self._scene.stem
        if not self._is_animation:
            return f"{stem}.{self._format}"
        width = len(str(self.final + 1 if self._is_cyclic else self.final))
        return f"{stem}{self._task.frame:0{width}d}.{self._format}"

    @property
    def checkpoint(self) -> Checkpoint:
        """POV-Ray's own state of an image, with which it goes on where it is told +C."""
        return Checkpoint(file=f"{Path(self.output_name).stem}.pov-state", arguments=("+C",))

    # -- arguments ---------------------------------------------------------------------------------------------------

    def arguments(self) -> Iterator[str]:
        yield f"+I{_quoted(self._scene)}"
        yield from (f"+L{_quoted(folder)}" for folder in self._folders)
        if self._shadows:
            yield from (f"+L{_quoted(folder)}" for folder in _system_folders())
        yield from self._looks()
        yield from (f"+W{self.size[0]}", f"+H{self.size[1]}")
        yield f"+F{settings.FORMATS[self._format]}"
        yield f"+O{_quoted(f'{self._scene.stem}.{self._format}')}"
        if self._is_animation:
            frame = self._task.frame
            yield from (f"+KFI{self.initial}", f"+KFF{self.final}", f"+SF{frame}", f"+EF{frame}")
        yield from settings.tile(self._settings)
        yield from ("+WT1", "+V", "-D", "-P", "-C")

    def _looks(self) -> Iterator[str]:
        """What decides how the picture looks: first the .ini's options, then the settings, as the last one counts."""
        for option in self._options:
            if option.name == ini.RAW:
                yield option.value
            elif option.name in ini.PASSED.values():
                yield f"{option.name}={_quoted(option.value)}"
        if self._bits:
            yield f"Bits_Per_Color={self._bits}"
        yield from (f"{name}={value}" for name, value in settings.options(self._settings))


def _quoted(value: Path | str) -> str:
    """An option's value as POV-Ray's command line reads it; no quotes where it needs none (numbers must have none)."""
    text = str(value)
    return text if re.fullmatch(r"[\w.,/=+:-]*", text, re.ASCII) else f'"{text}"'


@functools.cache
def _system_folders() -> tuple[Path, ...]:
    """Where POV-Ray's own files are, as the system's povray.ini says."""
    lines = [
        line for name in _SYSTEM_INIS if Path(name).is_file() for line in Path(name).read_text("utf-8").splitlines()
    ]
    found = (re.match(r'\s*Library_Path\s*=\s*"?([^";]+)', line, re.IGNORECASE) for line in lines)
    return tuple(folder for match in found if match and (folder := Path(match[1].strip())).is_dir())
