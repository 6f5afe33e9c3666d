"""Frames that differ from the rest of their job: with a renderer, settings or expected files of their own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from distren.domain.frameset import FrameSet
from distren.errors import JobFileError

MOST_GROUPS = 10_000
"""in one job: each is read and checked by itself when the job is handed in"""
_NUMBER = re.compile(r"\{frame(?::0([1-9]\d?))?\}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Output:
    """A file that a frame must produce beyond those that its renderer produces by itself.

    `path` is relative to the frame's working directory; `{frame}` in it stands for the frame's id, `{frame:04}` for the
    id in four digits at least. An `image` is decoded, and has `width` and `height` pixels where these are given.
    """

    path: str
    image: bool = False
    width: int | None = None
    height: int | None = None

    def of(self, frame: int) -> Output:
        """The file of this frame."""
        return replace(self, path=_NUMBER.sub(lambda match: f"{frame:0{match[1] or 1}d}", self.path))


def has_other_braces(path: str) -> bool:
    """Whether a path holds braces that stand for no frame."""
    rest = _NUMBER.sub("", path)
    return "{" in rest or "}" in rest


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be done for a frame: by which renderer, with which settings, for which files.

    `content` are the elements of the renderer's settings that hold more than text, as canonical XML. The renderer is
    told a frame's id less `offset` as its number.
    """

    renderer: str
    settings: Mapping[str, str] = field(default_factory=dict)
    content: tuple[str, ...] = ()
    outputs: tuple[Output, ...] = ()
    offset: int = 0


@dataclass(frozen=True, kw_only=True)
class Group:
    """Frames of a job that have something of their own; what they lack they have from the job.

    `label` is for people. With the job's renderer (`renderer` is None or the same) the settings are laid over the job's
    one by one, and content and outputs stand in for the job's where there are any; with another renderer nothing of
    the job's remains. The renderer is told a frame's id less `offset` as its number: frames 101 to 148 may be those
    that render 1 to 48 (tiles of them, say). Frames that are `intermediate` serve others only: they are no part of what
    a user fetches, unless they are named.
    """

    frames: FrameSet
    renderer: str | None = None
    label: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    content: tuple[str, ...] = ()
    outputs: tuple[Output, ...] = ()
    offset: int = 0
    intermediate: bool = False

    def over(self, work: Work) -> Work:
        """What is to be done for the frames of this group, in a job with this work."""
        if self.renderer not in (None, work.renderer):
            work = Work(renderer=self.renderer or work.renderer)
        return Work(
            renderer=work.renderer,
            settings={**work.settings, **self.settings},
            content=self.content or work.content,
            outputs=self.outputs or work.outputs,
            offset=self.offset,
        )


def check(groups: Iterable[Group]) -> None:
    """Raise JobFileError where there are too many groups, or a frame is in two of them."""
    groups = tuple(groups)
    if len(groups) > MOST_GROUPS:
        raise JobFileError(
            f"{len(groups)} <frames> with something of their own are more than the {MOST_GROUPS} of one job: "
            "put frames that are alike into one"
        )
    every = FrameSet(tuple(ids for group in groups for ids in group.frames.ranges))
    if every.is_disjoint:
        return
    seen: set[int] = set()
    for group in groups:
        own = set(group.frames)
        if both := seen & own:
            raise JobFileError(f"frame/{min(both)} is in two <frames> with something of their own: keep one of them")
        seen |= own


def restricted(groups: Iterable[Group], frames: FrameSet) -> tuple[Group, ...]:
    """The groups with these frames only: somebody asks for fewer frames than the job file names."""
    kept = ((group, group.frames.within(frames)) for group in groups)
    return tuple(replace(group, frames=rest) for group, rest in kept if rest.ranges)
