"""The settings of an encode frame, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from distren.errors import JobFileError
from distren.renderers.declaration import Declaration, Kind, Setting

CONTAINERS = {"h264": (".mp4", ".mov", ".mkv"), "prores": (".mov", ".mkv"), "ffv1": (".mkv",)}
"""the endings that each codec can be written to"""
ENDINGS = tuple(dict.fromkeys(ending for endings in CONTAINERS.values() for ending in endings))
QUALITIES = ("low", "medium", "high")
TONEMAPS = ("soft", "clip")
FPS = 25.0

DECLARATION = Declaration(
    title="Encode",
    about="Makes a video of the images of all frames that it needs; every worker has it",
    settings=(
        Setting(
            name="name",
            kind=Kind.TEXT,
            pattern=r"(?!\.)[^/\\\x00-\x1f\x7f]{1,150}\.(mp4|mov|mkv)",
            write="a file name that ends in .mp4, .mov or .mkv",
            meaning="the file's name; its ending is the container",
            default="video.mp4",
        ),
        Setting(
            name="fps", kind=Kind.NUMBER, lowest=0.1, highest=1000, meaning="pictures per second", default=f"{FPS:g}"
        ),
        Setting(
            name="codec",
            words=tuple(CONTAINERS),
            meaning="H.264 for players, ProRes for editing (.mov, .mkv), FFV1 without any loss (.mkv)",
            default="h264",
        ),
        Setting(
            name="quality",
            words=QUALITIES,
            meaning="how much is kept: H.264 with CRF 28, 23, 18; ProRes proxy, standard, HQ",
            default="high",
        ),
        Setting(
            name="tonemap",
            words=TONEMAPS,
            meaning="linear images (EXR, HDR): soft compresses what is brighter than 0.8, clip cuts off at 1",
            default="soft",
        ),
        Setting(
            name="exposure",
            kind=Kind.NUMBER,
            lowest=-20,
            highest=20,
            meaning="linear images: stops by which they are made brighter",
            default="0",
        ),
        Setting(
            name="images",
            kind=Kind.TEXT,
            pattern=r"[\w.*?-]{1,100}",
            write="a name with * and ?, such as *combined*.exr",
            meaning="which image of a frame is taken, where a frame has several",
            default="the first by name",
        ),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a video is written."""

    codec: str = "h264"
    quality: str = "high"


@dataclass(frozen=True, kw_only=True)
class Look:
    """How linear light becomes a picture; `exposure` in stops."""

    tonemap: str = "soft"
    exposure: float = 0.0


def check(settings: Mapping[str, str]) -> None:
    """Raise JobFileError for settings that can not be used, by themselves or together."""
    DECLARATION.check(settings)
    codec = settings.get("codec", "h264")
    if ending(settings) not in CONTAINERS[codec]:
        raise JobFileError(
            f"setting codec='{codec}' of Encode can not be written to '{name(settings)}': "
            f"give a name that ends in {' or '.join(CONTAINERS[codec])}"
        )


def name(settings: Mapping[str, str]) -> str:
    return settings.get("name", "video.mp4")


def ending(settings: Mapping[str, str]) -> str:
    return PurePosixPath(name(settings)).suffix


def way(settings: Mapping[str, str]) -> Way:
    return Way(codec=settings.get("codec", "h264"), quality=settings.get("quality", "high"))


def look(settings: Mapping[str, str]) -> Look:
    return Look(tonemap=settings.get("tonemap", "soft"), exposure=float(settings.get("exposure", "0")))
