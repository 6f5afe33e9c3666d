"""What a renderer declares about itself as data: its name, the endings of its scenes, and its settings.

The same declaration checks what a job says, is what `distren renderers NAME` shows, and makes the reference in docs/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from distren.errors import JobFileError

LARGEST_IMAGE = 65_536
"""pixels of a side, as in a job file"""
_WHOLE = re.compile(r"\d{1,10}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
IDENTIFIER = r"[A-Za-z_]\w{0,39}"
"""a name in a scene, as most scene languages have them"""


class Kind(StrEnum):
    """What a setting's value is; the words of the setting are always accepted besides."""

    WORD = "word"  #: one of the words and nothing else
    WHOLE = "whole number"
    NUMBER = "number"
    PATH = "path"  #: of a file or folder in the seed
    PATHS = "paths"  #: the same, several with ':' between them
    TEXT = "text"  #: what the pattern matches as a whole


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of a renderer.

    `default` says what holds where it is not given, in words. `lowest` and `highest` are the bounds of a number, which
    count as allowed; `above` is a bound that does not. `pattern` is a regular expression for texts. `write` says what
    to write where the declaration alone does not say it well. With `names` it is a family of settings, `name.NAME`,
    where NAME matches this expression. `option` is the program's own word for it.
    """

    name: str
    meaning: str
    kind: Kind = Kind.WORD
    words: tuple[str, ...] = ()
    default: str = ""
    lowest: float | None = None
    highest: float | None = None
    above: float | None = None
    pattern: str | None = None
    write: str = ""
    names: str | None = None
    option: str = ""

    @property
    def shown(self) -> str:
        """Its name as people read it."""
        return self.name if self.names is None else f"{self.name}.NAME"

    @property
    def values(self) -> str:
        """What may be written: `on or off`, `0 to 11`, `a path in the seed`."""
        if self.write:
            return self.write
        parts = [*self.words, *([] if self.kind is Kind.WORD else [self._values_of_kind()])]
        return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"

    def _values_of_kind(self) -> str:
        match self.kind:
            case Kind.PATH:
                return "a path in the seed"
            case Kind.PATHS:
                return "paths in the seed, with ':' between them"
            case Kind.TEXT:
                return f"text that matches {self.pattern}"
        bounds = self._bounds()
        if self.lowest is not None and self.highest is not None:
            return bounds
        noun = "a whole number" if self.kind is Kind.WHOLE else "a number"
        return f"{noun} {bounds}".strip()

    def _bounds(self) -> str:
        if self.lowest is not None and self.highest is not None:
            return f"{self.lowest:g} to {self.highest:g}"
        if self.above is not None:
            return f"over {self.above:g}" + ("" if self.highest is None else f", up to {self.highest:g}")
        if self.lowest is not None:
            return f"of {self.lowest:g} or more"
        return "" if self.highest is None else f"up to {self.highest:g}"

    def allows(self, value: str) -> bool:
        """Whether `value` can be used."""
        if value in self.words:
            return True
        match self.kind:
            case Kind.WORD:
                return False
            case Kind.PATH:
                return _is_path(value)
            case Kind.PATHS:
                return all(_is_path(part) for part in value.split(":"))
            case Kind.TEXT:
                return re.fullmatch(self.pattern or ".*", value) is not None
            case Kind.WHOLE:
                return _WHOLE.fullmatch(value) is not None and self._is_within(int(value))
            case Kind.NUMBER:
                return _NUMBER.fullmatch(value) is not None and self._is_within(float(value))

    def _is_within(self, number: float) -> bool:
        return (
            (self.lowest is None or number >= self.lowest)
            and (self.highest is None or number <= self.highest)
            and (self.above is None or number > self.above)
        )


SWITCH = ("on", "off")
"""the words of a setting that is a switch"""
TILE = tuple(
    Setting(
        name=name, kind=Kind.WHOLE, lowest=lowest, highest=LARGEST_IMAGE, meaning=meaning, default="the whole image"
    )
    for name, lowest, meaning in (
        ("tile-left", 0, "pixels left of the tile"),
        ("tile-top", 0, "pixels above the tile"),
        ("tile-width", 1, "width of the tile in pixels"),
        ("tile-height", 1, "height of the tile in pixels"),
    )
)
"""The settings of a renderer that can render a part of an image; the image is cropped, or black outside of the part."""


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What a renderer declares.

    `title` is the program's name as people write it, `about` one line on what it is for, `endings` are those of its
    scenes' names (lower case, with their dot). A job must give one of the settings `needed`, if there are any.
    """

    title: str
    about: str = ""
    endings: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    needed: tuple[str, ...] = ()

    def accepts(self, path: Path) -> bool:
        """Whether `path` has the name of a scene."""
        return path.suffix.lower() in self.endings

    @property
    def can_tile(self) -> bool:
        """Whether the renderer can render a part of an image."""
        return {setting.name for setting in TILE} <= {setting.name for setting in self.settings}

    def find(self, name: str) -> Setting | None:
        """The setting that `name` is, or whose family it belongs to."""
        family = name.partition(".")[0]
        for setting in self.settings:
            if setting.name == (name if setting.names is None else family):
                return setting if setting.names is None or name != family else None
        return None

    def check(self, values: Mapping[str, str]) -> None:
        """Raise JobFileError for a setting that is unknown or has a value that can not be used, and where one lacks."""
        for name, value in values.items():
            setting = self.find(name)
            if setting is None:
                known = ", ".join(setting.shown for setting in self.settings) or "none"
                raise JobFileError(f"{self.title} has no setting '{name}'; there are {known}")
            inner = name.partition(".")[2]
            if setting.names is not None and not re.fullmatch(setting.names, inner, re.ASCII):
                raise JobFileError(f"setting '{name}' of {self.title} can not be used: '{inner}' is no identifier")
            if not setting.allows(value):
                raise JobFileError(f"setting {name}='{value}' of {self.title} can not be used: write {setting.values}")
        if self.needed and not any(name in values for name in self.needed):
            lacking = self.find(self.needed[0])
            assert lacking is not None
            raise JobFileError(f"the settings of {self.title} lack {lacking.name}: {lacking.meaning}")
        self._check_tile(values)

    def _check_tile(self, values: Mapping[str, str]) -> None:
        given = [setting.name for setting in TILE if setting.name in values]
        if given and len(given) < len(TILE):
            lacking = next(setting.name for setting in TILE if setting.name not in values)
            raise JobFileError(f"the settings of {self.title} lack {lacking}: a tile has all four, or none")


def _is_path(text: str) -> bool:
    """Whether `text` stays in the seed, and holds nothing that a program's command line might misread."""
    path = PurePosixPath(text)
    odd = any(ord(char) < 32 or char in '"\\' for char in text)
    return bool(text) and not odd and not path.is_absolute() and ".." not in path.parts
