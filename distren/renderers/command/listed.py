"""The programs that an owner of a worker lists under [commands.NAME], and what a job may say to them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distren.errors import JobFileError, SettingsError

NAME = r"[a-z][a-z0-9-]{0,31}"
VALUE = r"[^\x00-\x1f\x7f]{1,200}"
"""what any setting of a listed command may be at most; what it may be is up to the worker's owner"""
_SETTING = r"[a-z][a-z0-9_-]{0,31}"
_PLACE = re.compile(r"\{([^{}]*)\}")
_PLAIN = ("input", "output", "first", "last", "width", "height")
_FRAME = re.compile(r"frame(?::0?(\d{1,2}))?")
"""`{frame}`, or `{frame:04}`: at least four digits"""


class Allowed(BaseModel):
    """A setting that a job may give: one of `choices`, or what `pattern` matches as a whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    choices: tuple[str, ...] = ()
    pattern: str | None = None
    default: str | None = None

    def allows(self, value: str) -> bool:
        return value in self.choices or (self.pattern is not None and re.fullmatch(self.pattern, value) is not None)

    @property
    def values(self) -> str:
        return ", ".join([*self.choices, *([] if self.pattern is None else [f"text that matches {self.pattern}"])])


class Listed(BaseModel):
    """One listed program; the fields are those of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    program: str
    arguments: tuple[str, ...] = ()
    outputs: tuple[str, ...] = Field(min_length=1)
    reads: tuple[Path, ...] = ()
    about: str = ""
    version: str | None = Field(default=None, pattern=r"[\w.]{1,40}")
    progress: str | None = None
    trouble: str | None = None
    settings: Mapping[str, Allowed] = {}

    @property
    def digest(self) -> str:
        """The version where the owner gives none: workers that list a program differently are of different classes."""
        return self.version or hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:8]

    def places(self) -> Iterator[str]:
        """What stands in braces anywhere in the templates."""
        for template in (*self.arguments, *self.outputs):
            yield from _PLACE.findall(template)


@dataclass(frozen=True, kw_only=True)
class Values:
    """What takes the place of the braces in one frame's templates."""

    frame: int
    plain: Mapping[str, str]
    settings: Mapping[str, str]

    def of(self, place: str) -> str:
        if digits := _FRAME.fullmatch(place):
            return f"{self.frame:0{int(digits[1] or 1)}d}"
        if place.startswith("setting."):
            return self.settings[place.removeprefix("setting.")]
        return self.plain[place]

    def filled(self, template: str) -> str:
        """The template with its braces filled, once: a value that looks like a brace stays what it is."""
        return _PLACE.sub(lambda match: self.of(match[1]), template)


def read(commands: Mapping[str, Any]) -> dict[str, Listed]:
    """The listed programs of a configuration; raises SettingsError that names what is wrong."""
    found = {}
    for name, written in commands.items():
        if not re.fullmatch(NAME, name):
            raise SettingsError(f"commands.{name} can not be used: write a name of lower-case letters, digits and '-'")
        try:
            found[name] = Listed.model_validate(written)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(("commands", name, *map(str, first["loc"])))
            raise SettingsError(f"{place} can not be used: {first['msg'].lower()}") from error
        _check(name, found[name])
    return found


def _check(name: str, listed: Listed) -> None:
    for place in listed.places():
        setting = place.removeprefix("setting.")
        if place.startswith("setting."):
            if setting not in listed.settings:
                text = f"declare it under [commands.{name}.settings.{setting}] with choices or a pattern"
                raise SettingsError(f"commands.{name} uses {{{place}}}: {text}")
        elif place not in _PLAIN and not _FRAME.fullmatch(place):
            known = ", ".join(f"{{{one}}}" for one in ("frame", *_PLAIN, "setting.NAME"))
            raise SettingsError(f"commands.{name} uses {{{place}}}, which is not known: write {known}")
    for setting, allowed in listed.settings.items():
        _check_setting(f"commands.{name}.settings.{setting}", setting, allowed)
    for output in listed.outputs:
        if "/" in output or "setting." in output or output.startswith((".", "-")) or not output:
            raise SettingsError(f"commands.{name}.outputs holds '{output}': write plain names, with {{frame}} in them")
    for what in ("progress", "trouble"):
        _compiled(f"commands.{name}.{what}", getattr(listed, what), groups=1)


def _check_setting(place: str, setting: str, allowed: Allowed) -> None:
    if not re.fullmatch(_SETTING, setting):
        raise SettingsError(f"{place} can not be used: write a name of lower-case letters, digits, '-' and '_'")
    if not allowed.choices and allowed.pattern is None:
        raise SettingsError(f"{place} allows nothing: give choices or a pattern")
    _compiled(f"{place}.pattern", allowed.pattern)
    if allowed.default is not None and not allowed.allows(allowed.default):
        raise SettingsError(f"{place}.default is '{allowed.default}', which it does not allow: write {allowed.values}")


def _compiled(place: str, pattern: str | None, *, groups: int = 0) -> None:
    try:
        if pattern is not None and re.compile(pattern).groups < groups:
            raise SettingsError(f"{place} marks nothing: put what counts into ( )")
    except re.error as error:
        raise SettingsError(f"{place} is no regular expression: {error}") from error


def settings_of(listed: Listed, given: Mapping[str, str]) -> dict[str, str]:
    """What a job gives, with what holds by default; raises JobFileError for anything that the owner does not allow."""
    for name, value in given.items():
        allowed = listed.settings.get(name)
        if allowed is None:
            known = ", ".join(f"setting.{one}" for one in listed.settings) or "none"
            raise JobFileError(f"this command has no setting '{name}'; there are {known}")
        if not allowed.allows(value):
            raise JobFileError(f"setting.{name}='{value}' can not be used: write {allowed.values}")
        if value.startswith("-") and value not in allowed.choices:
            raise JobFileError(f"setting.{name}='{value}' can not be used: it begins like an option")
    defaults = {name: allowed.default for name, allowed in listed.settings.items() if allowed.default is not None}
    values = {**defaults, **given}
    for place in listed.places():
        name = place.removeprefix("setting.")
        if place.startswith("setting.") and name not in values:
            raise JobFileError(f"this command needs setting.{name}: write {listed.settings[name].values}")
    return values


def allowance(listed: Listed) -> Mapping[str, tuple[str, ...] | None]:
    """What a worker announces of the settings: the choices, None where a pattern decides, which is the worker's."""
    return {
        f"setting.{name}": allowed.choices if allowed.pattern is None else None
        for name, allowed in listed.settings.items()
    }
