"""Reads POV-Ray's .ini files into options, so that none of them reaches POV-Ray unread.

The format, as POV-Ray 3.7 was seen to read it: command line switches, as many as one likes in a line; `Name=Value`,
which takes the rest of its line (of numbers and words only the first counts); a bare name, which is another .ini file
or the scene; `;` and `#` begin a comment, `[name]` a section that counts only when it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from distren.errors import SceneError

_DEEPEST = 10
"""ini files that include each other"""
_LARGEST = 2**20
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<comment>[;\#].*) | \[(?P<section>[^\]]*)\]
        | (?P<name>[A-Za-z]\w*)\s*=\s*(?P<value>"[^"]*"|'[^']*'|[^;\#"']*)
        | (?P<switch>[+-][A-Za-z](?:"[^"]*"|'[^']*'|[^\s;"'])*)
        | (?P<bare>"[^"]*"|'[^']*'|[^\s;]+)
    )""",
    re.VERBOSE,
)
_PASSED = """
    Antialias Antialias_Depth Antialias_Gamma Antialias_Threshold Bits_Per_Color Bits_Per_Colour Bounding
    Bounding_Method Bounding_Threshold BSP_BaseAccessCost BSP_ChildAccessCost BSP_IsectCost BSP_MaxDepth BSP_MissChance
    Clock Compression Cyclic_Animation Declare Display_Gamma Dither Dither_Method End_Column End_Row Field_Render
    File_Gamma Final_Clock Grayscale_Output High_Reproducibility Include_Header Initial_Clock Jitter Jitter_Amount
    Light_Buffer Max_Image_Buffer_Memory Odd_Field Output_Alpha Quality Radiosity_File_Name Radiosity_From_File
    Radiosity_Vain_Pretrace Remove_Bounds Render_Block_Size Render_Pattern Sampling_Method Split_Unions Start_Column
    Start_Row Stochastic_Seed Version Vista_Buffer Warning_Level
"""
PASSED = {name.lower(): name for name in _PASSED.split()}
"""Options that decide how the picture looks: POV-Ray gets them as they are."""
_READ = """
    Final_Frame Frame_Step Height Include_Ini Initial_Frame Input_File_Name Library_Path Output_File_Type
    Subset_End_Frame Subset_Start_Frame Width
"""
READ = {name.lower(): name for name in _READ.split()}
"""Options that the adapter reads and gives on in its own words."""
_DROPPED = """
    all_console all_file append_file buffer_output buffer_size clockless_animation config_file continue_trace
    create_continue_trace_log create_histogram create_ini debug_console debug_file display draw_vistas fatal_console
    fatal_error_command fatal_error_return fatal_file histogram_grid_size histogram_name histogram_type
    output_file_name output_to_file palette pause_when_done post_frame_command post_frame_return post_scene_command
    post_scene_return pre_frame_command pre_frame_return pre_scene_command pre_scene_return preview_end_size
    preview_start_size radiosity_to_file real_time_raytracing render_block_step render_console render_file
    statistic_console statistic_file test_abort test_abort_count user_abort_command user_abort_return verbose
    video_mode warning_console warning_file work_threads
"""
DROPPED = frozenset(_DROPPED.split())
"""Options without a meaning on a farm: where output goes, commands to run, windows, threads, log files."""
_NAMES = ("Input_File_Name", "Library_Path", "Include_Header", "Include_Ini", "Radiosity_File_Name")
"""Options whose value is a path, which may hold blanks."""
_SWITCHES: tuple[tuple[str, str | None], ...] = (
    ("KFI", "Initial_Frame"),
    ("KFF", "Final_Frame"),
    ("KI", "Initial_Clock"),
    ("KF", "Final_Clock"),
    ("KC", "Cyclic_Animation"),
    ("K", "Clock"),
    ("SF", "Subset_Start_Frame"),
    ("EF", "Subset_End_Frame"),
    ("SR", "Start_Row"),
    ("SC", "Start_Column"),
    ("SP", None),
    ("EP", None),
    ("ER", "End_Row"),
    ("EC", "End_Column"),
    ("S", "Start_Row"),
    ("E", "End_Row"),
    ("WT", None),
    ("WL", "Warning_Level"),
    ("W", "Width"),
    ("HI", "Include_Header"),
    ("HR", "High_Reproducibility"),
    ("HT", None),
    ("HN", None),
    ("HS", None),
    ("H", "Height"),
    ("I", "Input_File_Name"),
    ("L", "Library_Path"),
    ("F", "Output_File_Type"),
    ("RF", None),
    ("RT", None),
    ("O", None),
    ("D", None),
    ("P", None),
    ("V", None),
    ("C", None),
    ("X", None),
    ("G", None),
    ("T", None),
)
"""Switches by their first letters, the longest first, and the options that they stand for (None: dropped)."""
_LOOKS = re.compile(r"[+-](A|J|Q|R\d|U[A-Z]|M[BIV]|B[MPS]|SU)", re.IGNORECASE)
"""Switches that POV-Ray gets as they are: they decide how the picture looks, or how fast it is there."""
RAW = ""
"""name of an option that is such a switch"""


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of an ini file, its name as POV-Ray writes it; `file` and `line` say where it stands."""

    name: str
    value: str
    file: Path
    line: int


def read(path: Path, section: str | None = None, *, within: Path | None = None) -> tuple[Option, ...]:
    """The options of an ini file and of those that it includes, in order, without those that a farm drops.

    Files outside the folder `within` are refused. Raises SceneError, naming file and line.
    """
    return tuple(_read(path, section, within, _DEEPEST))


def last(options: Iterable[Option], name: str) -> str | None:
    """The value that counts: the last one given."""
    return next((option.value for option in reversed(list(options)) if option.name == name), None)


def is_on(value: str | None) -> bool:
    """Whether a switch is on, in any of POV-Ray's words."""
    return value is not None and value.lower() in ("on", "yes", "true", "1")


def _read(path: Path, section: str | None, within: Path | None, depth: int) -> Iterator[Option]:
    if not depth:
        raise SceneError(f"{path.name} and the ini files that it names include each other without end")
    counts = True
    for number, line in enumerate(_text(path, within).splitlines(), 1):
        for token in _tokens(line):
            if token["section"] is not None:
                counts = section is not None and token["section"].strip().lower() == section.lower()
            option = _option(token, path, number) if counts else None
            if option is None:
                continue
            if option.name == "Include_Ini":
                name, _, inner = option.value.partition("[")
                yield from _read(path.parent / name, inner.rstrip("]") or None, within, depth - 1)
            else:
                yield option


def _tokens(line: str) -> Iterator[re.Match[str]]:
    for token in _TOKEN.finditer(line):
        yield token
        if token["name"] is not None:
            return  # POV-Ray reads nothing behind a value


def _option(token: re.Match[str], file: Path, line: int) -> Option | None:
    """What a token says; None where it says nothing that a farm wants."""
    if token["name"] is not None:
        name, value = _known(token["name"], file, line), _bare(token["value"])
        value = value if name in _NAMES else value.partition(" ")[0]
    elif token["switch"] is not None:
        name, value = _switch(token["switch"])
    elif token["bare"] is not None:
        value = _bare(token["bare"])
        name = "Include_Ini" if value.partition("[")[0].lower().endswith(".ini") else "Input_File_Name"
    else:
        return None
    return None if name is None else Option(name=name, value=value, file=file, line=line)


def _known(name: str, file: Path, line: int) -> str | None:
    lower = name.lower()
    if lower in DROPPED:
        return None
    known = PASSED.get(lower) or READ.get(lower)
    if known is None:
        raise SceneError(f"{file.name} line {line}: POV-Ray has no option '{name}': correct the line")
    return known


def _switch(text: str) -> tuple[str | None, str]:
    sign, rest = text[0], text[1:]
    for letters, name in _SWITCHES:
        if rest.upper().startswith(letters):
            if name in ("Cyclic_Animation", "High_Reproducibility"):
                return name, "on" if sign == "+" else "off"
            value = _bare(rest[len(letters) :])
            return (name if value and (sign == "+" or name == "Clock") else None), value
    return (RAW if _LOOKS.match(text) else None), text


def _bare(text: str) -> str:
    return text.replace('"', "").replace("'", "").strip()


def _text(path: Path, within: Path | None) -> str:
    try:
        real = path.resolve(strict=True)
        if within is not None and not real.is_relative_to(within.resolve()):
            raise SceneError(f"ini file '{path}' lies outside the job")
        with real.open("rb") as file:
            return file.read(_LARGEST).decode("utf-8", "replace")
    except OSError as error:
        raise SceneError(f"ini file '{path}' can not be read: {error.strerror}") from error
