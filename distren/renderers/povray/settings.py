"""The settings of a POV-Ray job: what may be written there, and the options of POV-Ray that they become."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath

from distren.errors import JobFileError

FORMATS = {"png": "N", "jpg": "J", "exr": "E", "hdr": "H", "bmp": "B", "tga": "T", "ppm": "P"}
"""What `format` may be: also the ending of the file's name; and POV-Ray's letters for them."""
DECLARE = "declare."
_LARGEST_FRAME = 2**31 - 2
_Check = Callable[[str], bool]


def _whole(lowest: int, highest: int) -> _Check:
    return lambda text: re.fullmatch(r"\d{1,10}", text, re.ASCII) is not None and lowest <= int(text) <= highest


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", text, re.ASCII) is not None


def _is_share(text: str) -> bool:
    return _is_number(text) and float(text) >= 0


def _is_switch(text: str) -> bool:
    return text in ("on", "off")


def _is_path(text: str) -> bool:
    path = PurePosixPath(text)
    odd = any(ord(char) < 32 or char in '"\\' for char in text)
    return bool(text) and not odd and not path.is_absolute() and ".." not in path.parts


def _are_paths(text: str) -> bool:
    return all(_is_path(part) for part in text.split(":"))


_SETTINGS: dict[str, tuple[_Check, str]] = {
    "scene": (_is_path, "a path in the seed, for example scene.pov"),
    "ini": (_is_path, "a path in the seed, for example scene.ini"),
    "ini_section": (lambda text: re.fullmatch(r"[^\[\]\"';]+", text) is not None, "the name of a section"),
    "include": (_are_paths, "folders in the seed, with ':' between them"),
    "initial_frame": (_whole(0, _LARGEST_FRAME), "a frame number"),
    "final_frame": (_whole(0, _LARGEST_FRAME), "a frame number"),
    "initial_clock": (_is_number, "a number"),
    "final_clock": (_is_number, "a number"),
    "clock": (_is_number, "a number"),
    "cyclic": (_is_switch, "on or off"),
    "quality": (_whole(0, 11), "0 to 11"),
    "antialias": (lambda text: _is_switch(text) or _is_share(text), "on, off or a threshold such as 0.3"),
    "antialias_depth": (_whole(1, 9), "1 to 9"),
    "sampling_method": (_whole(1, 2), "1 or 2"),
    "jitter": (lambda text: _is_switch(text) or _is_share(text), "on, off or an amount such as 0.5"),
    "file_gamma": (lambda text: text == "srgb" or (_is_share(text) and float(text) > 0), "srgb or a number over 0"),
    "format": (FORMATS.__contains__, ", ".join(FORMATS)),
    "bits": (_whole(5, 16), "5 to 16 bits per colour"),
    "alpha": (_is_switch, "on or off"),
    "compression": (_whole(0, 100), "0 to 100"),
}
"""The settings by their names, each with its check and with what to write."""
_OPTIONS = {
    "initial_clock": "Initial_Clock",
    "final_clock": "Final_Clock",
    "clock": "Clock",
    "cyclic": "Cyclic_Animation",
    "quality": "Quality",
    "antialias_depth": "Antialias_Depth",
    "sampling_method": "Sampling_Method",
    "file_gamma": "File_Gamma",
    "bits": "Bits_Per_Color",
    "alpha": "Output_Alpha",
    "compression": "Compression",
}
_SWITCHED = {"antialias": ("Antialias", "Antialias_Threshold"), "jitter": ("Jitter", "Jitter_Amount")}


def check(settings: Mapping[str, str]) -> None:
    """Raise JobFileError for a setting that is unknown, or has a value that can not be used."""
    for name, value in settings.items():
        if name.startswith(DECLARE):
            _check_declare(name, value)
        elif name not in _SETTINGS:
            known = ", ".join((*_SETTINGS, DECLARE + "NAME"))
            raise JobFileError(f"POV-Ray has no setting '{name}'; there are {known}")
        elif not _SETTINGS[name][0](value):
            raise JobFileError(f"setting {name}='{value}' of POV-Ray can not be used: write {_SETTINGS[name][1]}")
    if "scene" not in settings and "ini" not in settings:
        raise JobFileError("the settings of POV-Ray lack scene: the path of the scene in the seed")


def options(settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """POV-Ray's options, name and value, for the settings that decide how the picture looks."""
    for name, value in settings.items():
        if name.startswith(DECLARE):
            yield "Declare", f"{name.removeprefix(DECLARE)}={value}"
        elif name in _OPTIONS:
            yield _OPTIONS[name], value
        elif name in _SWITCHED:
            switch, amount = _SWITCHED[name]
            yield switch, value if _is_switch(value) else "on"
            if not _is_switch(value):
                yield amount, value


def _check_declare(name: str, value: str) -> None:
    identifier = name.removeprefix(DECLARE)
    if not re.fullmatch(r"[A-Za-z_]\w{0,39}", identifier, re.ASCII):
        raise JobFileError(f"setting '{name}' of POV-Ray can not be used: '{identifier}' is no identifier of a scene")
    if not _is_number(value):
        raise JobFileError(f"setting {name}='{value}' of POV-Ray can not be used: write a number")
