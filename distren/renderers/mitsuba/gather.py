"""Finds the files that a Mitsuba scene names: what it includes, meshes, textures and whatever else lies beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from lxml import etree

from distren.errors import SceneError
from distren.renderers.layout import common, lexical
from distren.renderers.mitsuba.settings import PARAMETER
from distren.renderers.protocol import Scene

_LARGEST = 64 * 2**20
_VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)\}")


def read_scene(path: Path, settings: Mapping[str, str]) -> Scene:
    """What `path`, a scene of Mitsuba 3, needs. Raises SceneError, naming file and line of what is wrong."""
    path = lexical(path.absolute())
    if not path.is_file():
        raise SceneError(f"there is no scene '{path}': correct the path")
    given = {name.partition(".")[2]: value for name, value in settings.items() if name.startswith(f"{PARAMETER}.")}
    files = _Files(path, given)
    root = common(file.parent for file in files.found)
    return Scene(
        root=root,
        files=tuple(sorted(file.relative_to(root) for file in files.found)),
        settings={"scene": path.relative_to(root).as_posix()},
        width=files.size.get("width"),
        height=files.size.get("height"),
    )


class _Files:
    """The files of a scene, followed through its includes."""

    def __init__(self, scene: Path, values: dict[str, str]) -> None:
        self._scene, self._values = scene, values
        self._folders = [scene.parent]
        self.found: dict[Path, None] = {}
        self.size: dict[str, int] = {}
        unread = [scene]
        while unread:
            current = unread.pop(0)
            if current not in self.found:
                self.found[current] = None
                unread += self._read(current)

    def _read(self, path: Path) -> list[Path]:
        """Note what a file names; returns those that must be read in turn."""
        root = _parsed(path)
        if root.tag != "scene":
            raise SceneError(f"{path.name} is no scene of Mitsuba: its root is <{root.tag}>, not <scene>")
        includes = []
        for element in root.iter("default", "path", "include", "string", "integer"):
            name, value = element.get("name", ""), self._resolved(element.get("value", ""))
            if element.tag == "default":
                self._values.setdefault(name, value)
            elif element.tag == "path":
                self._folders.append(path.parent / value)
            elif element.tag == "include":
                found = self._find(self._resolved(element.get("filename", "")), path, element, certain=True)
                includes += [found] if found else []
            elif element.tag == "string":
                found = self._find(value, path, element, certain=name == "filename")
                if found is not None:
                    self.found[found] = None
            else:
                self._note_size(element, name, value)
        return includes

    def _note_size(self, element: etree._Element, name: str, value: str) -> None:
        parent = element.getparent()
        if parent is not None and parent.tag == "film" and name in ("width", "height") and value.isdecimal():
            self.size[name] = int(value)

    def _resolved(self, text: str) -> str:
        """`text` with its variables in it; one that nobody sets stays, and Mitsuba will say so."""
        return _VARIABLE.sub(lambda match: self._values.get(match[1] or match[2], match[0]), text)

    def _find(self, name: str, source: Path, element: etree._Element, *, certain: bool) -> Path | None:
        """The file called `name`; None where it is none and need not be (a string may be anything)."""
        if not name or "\0" in name or "$" in name:
            return None
        place = f"{source.name} line {element.sourceline}"
        for folder in (source.parent, *self._folders):
            candidate = lexical(folder / name)
            if not _is_file(candidate):
                continue
            if Path(name).is_absolute():
                if certain:
                    raise SceneError(
                        f"{place}: '{name}' is an absolute path, which other machines do not have: name the file "
                        "relative to the scene"
                    )
                return None
            return candidate
        if certain:
            raise SceneError(f"{place}: the file '{name}' is not beside the scene: put it there or correct the line")
        return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a string that is far too long for a name
        return False


def _parsed(path: Path) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False)
    try:
        with path.open("rb") as file:
            return etree.fromstring(file.read(_LARGEST), parser)
    except etree.XMLSyntaxError as error:
        raise SceneError(
            f"{path.name} line {error.position[0] or 1}: this is no well-formed XML: {error.msg}"
        ) from error
    except OSError as error:
        raise SceneError(f"'{path}' can not be read: {error.strerror}") from error
