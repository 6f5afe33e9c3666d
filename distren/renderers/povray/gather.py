"""Finds out what a scene on a user's disk needs: its files, wherever they lie, and what its .ini says."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from distren.domain.frameset import FrameSet
from distren.errors import SceneError
from distren.renderers.layout import common, lexical
from distren.renderers.povray import ini
from distren.renderers.povray.ini import Option
from distren.renderers.povray.references import Kind, Reader, Reference
from distren.renderers.povray.standard import STANDARD
from distren.renderers.protocol import Scene

_LARGEST_TEXT = 64 * 2**20
_ENDINGS = {Kind.INCLUDE: ("", ".inc", ".INC", ".pov", ".POV"), Kind.MEDIA: ("",), Kind.DATA: ("",)}


def read_scene(path: Path) -> Scene:
    """What `path`, a .pov or .ini file, needs. Raises SceneError, naming the file and line of what is wrong."""
    path = lexical(path.absolute())
    if not path.is_file():
        raise SceneError(f"there is no scene '{path}': correct the path")
    if path.suffix.lower() != ".ini":
        files = _Files(path, (path.parent,))
        return _scene(files.all(), {"scene": path}, ())
    options = ini.read(path)
    scene = _scene_of(path, options)
    own = (lexical(path.parent / option.value) for option in options if option.name == "Library_Path")
    folders = tuple(dict.fromkeys((path.parent, scene.parent, *own)))
    files = _Files(scene, folders)
    for option in options:
        files.add_file(option.file)
        if option.name in ("Include_Header", "Radiosity_File_Name"):
            kind = Kind.INCLUDE if option.name == "Include_Header" else Kind.DATA
            files.add(Reference(name=option.value, kind=kind, line=option.line, certain=True), option.file)
    files.add_file(path)
    return _scene(files.all(), {"scene": scene, "ini": path}, options)


def _scene_of(path: Path, options: Iterable[Option]) -> Path:
    """The scene that an ini file names; POV-Ray adds the ending where it is missing."""
    found = [option for option in options if option.name == "Input_File_Name"]
    if not found:
        raise SceneError(f"{path.name} names no scene: write Input_File_Name=... there")
    option = found[-1]
    for ending in ("", ".pov", ".POV"):
        candidate = lexical(path.parent / (option.value + ending))
        if candidate.is_file():
            return candidate
    raise SceneError(
        f"{option.file.name} line {option.line}: the scene '{option.value}' is not beside {path.name}: put it there "
        "or correct the line"
    )


class _Files:
    """The files of a scene, followed from one to the next."""

    def __init__(self, scene: Path, folders: tuple[Path, ...]) -> None:
        self._scene, self._folders = scene, folders
        self._reader = Reader()
        self._found: dict[Path, None] = {}
        self._unread: list[Path] = []
        self._read(scene)

    def all(self) -> list[Path]:
        return sorted(self._found)

    def add_file(self, path: Path) -> None:
        self._found.setdefault(lexical(path.absolute()))

    def add(self, reference: Reference, source: Path) -> None:
        """Follow a reference that stands in `source`."""
        path = self._find(reference, source)
        if path is None or path in self._found:
            return
        if reference.kind is Kind.INCLUDE:
            self._read(path)
        else:
            self._found[path] = None

    def _read(self, path: Path) -> None:
        self._found[path] = None
        self._unread.append(path)
        if len(self._unread) > 1:
            return  # an include is read by the loop below, so that deep nesting costs no stack
        while self._unread:
            current = self._unread[0]
            for reference in self._reader.references(_text(current)):
                self.add(reference, current)
            self._unread.pop(0)

    def _find(self, reference: Reference, source: Path) -> Path | None:
        """The file; None for one of POV-Ray's own, and for one that may never be needed."""
        for folder in self._folders:
            for ending in _ENDINGS[reference.kind]:
                candidate = lexical(folder / (reference.name + ending))
                if candidate.is_file():
                    if Path(reference.name).is_absolute() and reference.certain:
                        raise SceneError(
                            f"{self._place(reference, source)}: '{reference.name}' is an absolute path, which other "
                            "machines do not have: name the file relative to the scene"
                        )
                    return None if Path(reference.name).is_absolute() else candidate
        names = {reference.name.removeprefix("./") + ending for ending in _ENDINGS[reference.kind]}
        if names & STANDARD or not reference.certain or reference.kind is Kind.DATA:
            return None
        raise SceneError(
            f"{self._place(reference, source)}: {reference.kind.value} '{reference.name}' is not beside the scene nor "
            "among POV-Ray's own: put it there or correct the line"
        )

    def _place(self, reference: Reference, source: Path) -> str:
        near = source.is_relative_to(self._scene.parent)
        return f"{source.relative_to(self._scene.parent) if near else source} line {reference.line}"


def _scene(files: list[Path], named: dict[str, Path], options: tuple[Option, ...]) -> Scene:
    root = common(file.parent for file in files)
    return Scene(
        root=root,
        files=tuple(file.relative_to(root) for file in files),
        settings={name: path.relative_to(root).as_posix() for name, path in named.items()},
        frames=_frames(options),
        width=_number(options, "Width"),
        height=_number(options, "Height"),
    )


def _frames(options: tuple[Option, ...]) -> FrameSet | None:
    """The frames that POV-Ray's own loop would render; None for a still."""
    final = _number(options, "Final_Frame")
    if final is None:
        return None
    initial = _number(options, "Initial_Frame")
    initial = 1 if initial is None else initial
    first = _number(options, "Subset_Start_Frame")
    until = _number(options, "Subset_End_Frame")
    step = _number(options, "Frame_Step") or 1
    first = initial if first is None else max(first, initial)
    until = final if until is None else min(until, final)
    if until < first:
        raise SceneError(f"{options[0].file.name} asks for the frames {first} to {until}, which are none: correct it")
    return FrameSet((range(first, until + 1, step),))


def _number(options: tuple[Option, ...], name: str) -> int | None:
    """The value of an option that is a whole number; None where there is none (POV-Ray takes fractions of a subset)."""
    text = ini.last(options, name)
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_TEXT).decode("utf-8", "replace")
    except OSError as error:
        raise SceneError(f"'{path}' can not be read: {error.strerror}") from error
