"""The settings of a POV-Ray job: what may be written there, and the options of POV-Ray that they become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from distren.renderers.declaration import IDENTIFIER, SWITCH, TILE, Declaration, Kind, Setting

FORMATS = {"png": "N", "jpg": "J", "exr": "E", "hdr": "H", "bmp": "B", "tga": "T", "ppm": "P"}
"""What `format` may be: also the ending of the file's name; and POV-Ray's letters for them."""
DECLARE = "declare"
_LARGEST_FRAME = 2**31 - 2
_PATH_OF_SCENE = "a path in the seed, for example scene.pov"
_PATH_OF_INI = "a path in the seed, for example scene.ini"


def _frame(name: str, meaning: str, option: str) -> Setting:
    return Setting(
        name=name,
        kind=Kind.WHOLE,
        lowest=0,
        highest=_LARGEST_FRAME,
        write="a frame number",
        meaning=meaning,
        default="the .ini's, or the job's frames",
        option=option,
    )


def _number(name: str, meaning: str, option: str, default: str) -> Setting:
    return Setting(name=name, kind=Kind.NUMBER, meaning=meaning, option=option, default=default)


def _whole(name: str, meaning: str, option: str, bounds: tuple[int, int], default: str, *, write: str = "") -> Setting:
    return Setting(
        name=name,
        kind=Kind.WHOLE,
        lowest=bounds[0],
        highest=bounds[1],
        meaning=meaning,
        option=option,
        default=default,
        write=write,
    )


def _switch(name: str, meaning: str, option: str, default: str = "off") -> Setting:
    return Setting(name=name, words=SWITCH, meaning=meaning, option=option, default=default)


def _amount(name: str, meaning: str, option: str, write: str, default: str) -> Setting:
    """A switch that may say how much as well."""
    return Setting(
        name=name,
        kind=Kind.NUMBER,
        words=SWITCH,
        lowest=0,
        meaning=meaning,
        option=option,
        write=write,
        default=default,
    )


DECLARATION = Declaration(
    title="POV-Ray",
    about="Ray tracing of POV-Ray 3.7 scenes and animations",
    endings=(".pov", ".ini"),
    needed=("scene", "ini"),
    settings=(
        Setting(
            name="scene",
            kind=Kind.PATH,
            write=_PATH_OF_SCENE,
            meaning="the path of the scene in the seed",
            default="filled in by submit",
            option="Input_File_Name",
        ),
        Setting(
            name="ini",
            kind=Kind.PATH,
            write=_PATH_OF_INI,
            meaning="the .ini file to take options from",
            default="none, or the one that is submitted",
        ),
        Setting(
            name="ini_section",
            kind=Kind.TEXT,
            pattern=r"[^\[\]\"';]+",
            write="the name of a section",
            meaning="the section of the .ini that counts",
            default="none",
        ),
        Setting(
            name="include",
            kind=Kind.PATHS,
            write="folders in the seed, with ':' between them",
            meaning="where included files are looked for besides",
            default="none",
            option="Library_Path",
        ),
        _frame("initial_frame", "the first frame of the animation", "Initial_Frame"),
        _frame("final_frame", "the last frame of the animation", "Final_Frame"),
        _number("initial_clock", "the clock in the first frame", "Initial_Clock", "0"),
        _number("final_clock", "the clock in the last frame", "Final_Clock", "1"),
        _number("clock", "the clock of a still", "Clock", "0"),
        _switch("cyclic", "whether the frame after the last would be the first again", "Cyclic_Animation"),
        _whole("quality", "from ambient colours only to everything", "Quality", (0, 11), "9"),
        _amount(
            "antialias",
            "smooth edges; the threshold is the difference of colours that counts as one",
            "Antialias, Antialias_Threshold",
            "on, off or a threshold such as 0.3",
            "off",
        ),
        _whole("antialias_depth", "how finely a pixel is divided", "Antialias_Depth", (1, 9), "3"),
        _whole("sampling_method", "1 samples evenly, 2 where it is needed", "Sampling_Method", (1, 2), "1"),
        _amount(
            "jitter",
            "noise in the antialiasing, or how much of it",
            "Jitter, Jitter_Amount",
            "on, off or an amount such as 0.5",
            "on",
        ),
        Setting(
            name="file_gamma",
            kind=Kind.NUMBER,
            words=("srgb",),
            above=0,
            write="srgb or a number over 0",
            meaning="the gamma of the image file",
            default="srgb",
            option="File_Gamma",
        ),
        Setting(
            name="format",
            words=tuple(FORMATS),
            write=", ".join(FORMATS),
            meaning="the format of the image file",
            default="png",
            option="Output_File_Type",
        ),
        _whole(
            "bits", "bits per colour, for png and ppm", "Bits_Per_Color", (5, 16), "8", write="5 to 16 bits per colour"
        ),
        _switch("alpha", "write an alpha channel", "Output_Alpha"),
        _whole("compression", "how much a jpg is compressed, or a png", "Compression", (0, 100), "POV-Ray's"),
        Setting(
            name=DECLARE,
            kind=Kind.NUMBER,
            names=IDENTIFIER,
            meaning="a number that the scene reads as NAME",
            default="what the scene declares",
            option="Declare=NAME=VALUE",
        ),
        *TILE,
    ),
)
_LOOKS = [
    "initial_clock",
    "final_clock",
    "clock",
    "cyclic",
    "quality",
    "antialias_depth",
    "sampling_method",
    "file_gamma",
    "bits",
    "alpha",
    "compression",
]
_SWITCHED = ("antialias", "jitter")


def options(settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """POV-Ray's options, name and value, for the settings that decide how the picture looks."""
    for name, value in settings.items():
        family, _, inner = name.partition(".")
        if family == DECLARE:
            yield "Declare", f"{inner}={value}"
        elif name in _LOOKS:
            yield _option(name), value
        elif name in _SWITCHED:
            switch, amount = _option(name).split(", ")
            yield switch, value if value in SWITCH else "on"
            if value not in SWITCH:
                yield amount, value


def _option(name: str) -> str:
    setting = DECLARATION.find(name)
    assert setting is not None
    return setting.option


def tile(settings: Mapping[str, str]) -> Iterator[str]:
    """POV-Ray's switches for a part of the image (it counts rows and columns from 1); nothing for the whole image."""
    if "tile-left" not in settings:
        return
    left, top, width, height = (int(settings[setting.name]) for setting in TILE)
    yield from (f"+SC{left + 1}", f"+EC{left + width}", f"+SR{top + 1}", f"+ER{top + height}")
