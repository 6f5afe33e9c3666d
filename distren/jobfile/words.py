"""The words of distrenjob.xml: its namespaces, its elements with their attributes, and what each value may be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from distren import urls
from distren.domain import frameset, groups
from distren.domain.frameset import FrameSet
from distren.domain.job import PRIORITIES
from distren.errors import FrameRangeError, UrlError
from distren.tarballs.paths import PathError, check_path
from distren.urls import SCHEME

FILE_NAME = "distrenjob.xml"
JOB = "urn:distren:job:1"
JOB_FAMILY = "urn:distren:job:"
SETTINGS = "settings"
LONGEST_TIME = timedelta(days=30)
MOST_ATTEMPTS = 100
LARGEST_IMAGE = 65_536
LONGEST_NAME = 200
LONGEST_LABEL = 60
MOST_OUTPUTS = 100
"""files that a frame must produce beyond its renderer's own"""
_RENDERER = re.compile(r"[a-z][a-z0-9]{0,31}", re.ASCII)
_POOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_TIME = re.compile(r"([0-9]{1,7})([smhd]?)", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,16})([KMGT]?)", re.ASCII)
_SIZES = {"T": 2**40, "G": 2**30, "M": 2**20, "K": 2**10, "": 1}
LARGEST_SIZE = 2**50
_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}", re.ASCII)
"""the name of a renderer's setting: an attribute or an element of XML can be called so"""


def renderer_namespace(renderer: str) -> str:
    """The namespace of what `renderer` (version 1 of its format) is told by a job file."""
    return f"urn:distren:renderer:{renderer}:1"


class ValueProblem(ValueError):
    """A value that can not be used; the message says what to write instead."""


def name(text: str) -> str:
    text = text.strip()
    if not 1 <= len(text) <= LONGEST_NAME or not text.isprintable():
        raise ValueProblem(f"write 1 to {LONGEST_NAME} printable characters")
    return text


def renderer(text: str) -> str:
    if not _RENDERER.fullmatch(text):
        raise ValueProblem("write a renderer's name: lower-case letters and digits, for example povray")
    return text


def pool(text: str) -> str:
    if not _POOL.fullmatch(text):
        raise ValueProblem("write 1 to 63 letters, digits, '.', '-' and '_', for example default")
    return text


def _whole(text: str, first: int, last: int) -> int:
    if not _NUMBER.fullmatch(text) or not first <= int(text) <= last:
        raise ValueProblem(f"write a whole number from {first} to {last}")
    return int(text)


def priority(text: str) -> int:
    return _whole(text, PRIORITIES.start, PRIORITIES.stop - 1)


def pixels(text: str) -> int:
    return _whole(text, 1, LARGEST_IMAGE)


def attempts(text: str) -> int:
    return _whole(text, 1, MOST_ATTEMPTS)


def time(text: str) -> timedelta:
    """A duration: whole seconds, or a number with s, m, h or d."""
    match = _TIME.fullmatch(text)
    seconds = int(match[1]) * _UNITS[match[2] or "s"] if match else 0
    if not 1 <= seconds <= LONGEST_TIME.total_seconds():
        raise ValueProblem(f"write a time from 1s to {LONGEST_TIME.days}d, for example 90s, 20m or 2h")
    return timedelta(seconds=seconds)


def write_time(duration: timedelta) -> str:
    """The shortest form that `time` reads; parts of a second are rounded up."""
    seconds = -(-duration // timedelta(seconds=1))
    unit = next(unit for unit, size in _UNITS.items() if seconds % size == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def size(text: str) -> int:
    """Bytes: a whole number, with K, M, G or T for 1024 times as many each."""
    match = _SIZE.fullmatch(text)
    count = int(match[1]) * _SIZES[match[2]] if match else 0
    if not 1 <= count <= LARGEST_SIZE:
        raise ValueProblem("write a number of bytes up to 1024T, for example 500M or 4G")
    return count


def write_size(count: int) -> str:
    """The shortest form that `size` reads."""
    unit = next(unit for unit, factor in _SIZES.items() if count % factor == 0)
    return f"{count // _SIZES[unit]}{unit}"


def label(text: str) -> str:
    text = text.strip()
    if not 1 <= len(text) <= LONGEST_LABEL or not text.isprintable():
        raise ValueProblem(f"write 1 to {LONGEST_LABEL} printable characters")
    return text


def output(text: str) -> str:
    """The path of a file that a frame must produce."""
    try:
        check_path(groups.Output(path=text).of(frameset.LARGEST_FRAME).path)
    except PathError as error:
        raise ValueProblem(str(error)) from error
    if groups.has_other_braces(text):
        raise ValueProblem(
            "write {frame} for the frame's id, or {frame:04} for an id of four digits, and no other braces"
        )
    return text


def switch(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueProblem("write yes or no")
    return text == "yes"


def ids(text: str) -> FrameSet:
    try:
        return frameset.parse(text)
    except FrameRangeError as error:
        raise ValueProblem(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Frames of this job, of a job of this server, or of another server's."""

    frames: FrameSet
    job: int | None = None
    server: str | None = None

    def __str__(self) -> str:
        job = "" if self.job is None else str(urls.Url(server=self.server, job=self.job)) + "/"
        return f"{job}frame/{self.frames}"


def reference(text: str) -> Reference:
    """`frame/1-16`, `5/frame/1-16` or `distren://alpha/5/frame/1-16`."""
    job, word, numbers = text.strip().rpartition("frame/")
    if not word or (job and not job.endswith("/")):
        raise ValueProblem(f"write frame/1-16, or {SCHEME}SERVER/JOB/frame/1-16 for frames of another job")
    frames = ids(numbers)
    if not job:
        return Reference(frames=frames)
    try:
        url = urls.parse(job)
    except UrlError as error:
        raise ValueProblem(str(error)) from error
    if url.job is None or url.frame is not None or url.file is not None:
        raise ValueProblem(f"write {SCHEME}SERVER/JOB/frame/1-16 for frames of another job")
    return Reference(frames=frames, job=url.job, server=url.server)


@dataclass(frozen=True)
class Attribute:
    """One attribute: how its text is read, and an example to show to someone who left it out."""

    read: Callable[[str], object]
    example: str
    required: bool = False


ELEMENTS: Mapping[str, Mapping[str, Attribute]] = {
    "job": {
        "name": Attribute(name, "My animation", required=True),
        "renderer": Attribute(renderer, "povray", required=True),
        "pool": Attribute(pool, "default"),
        "priority": Attribute(priority, "50"),
    },
    "image": {"width": Attribute(pixels, "640"), "height": Attribute(pixels, "360")},
    "limits": {
        "time": Attribute(time, "2h"),
        "silence": Attribute(time, "10m"),
        "memory": Attribute(size, "4G"),
        "output": Attribute(size, "500M"),
        "attempts": Attribute(attempts, "3"),
    },
    "outputs": {},
    "output": {
        "path": Attribute(output, "depth{frame:04}.exr", required=True),
        "image": Attribute(switch, "yes"),
        "width": Attribute(pixels, "640"),
        "height": Attribute(pixels, "360"),
    },
    "frames": {
        "ids": Attribute(ids, "1-24", required=True),
        "renderer": Attribute(renderer, "encode"),
        "label": Attribute(label, "trailer"),
        "as": Attribute(ids, "1-24"),
        "intermediate": Attribute(switch, "yes"),
    },
    "needs": {
        "frames": Attribute(ids, "1000", required=True),
        "all": Attribute(reference, "frame/1-16"),
        "each": Attribute(reference, "frame/1-16"),
    },
}
"""Every element of the job's own namespace."""
HELD: Mapping[str, tuple[str, ...]] = {
    "job": ("frames", "image", "limits", "needs", "outputs"),
    "frames": ("outputs",),
    "outputs": ("output",),
}
"""Which of these elements lie in which; `<settings>` of a renderer lie in `job` and in `frames`."""
REPEATED = frozenset({"frames", "needs"})
