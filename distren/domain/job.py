"""What a job says: the values that distrenjob.xml, a message and the database all carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from distren.domain.frameset import FrameSet
from distren.domain.groups import Group, Output, Work
from distren.domain.needs import Needs

DEFAULT_POOL = "default"
DEFAULT_PRIORITY = 50
PRIORITIES = range(101)
"""0 to 100; a larger number is rendered earlier."""


@dataclass(frozen=True, kw_only=True)
class Blob:
    """Stored bytes: their SHA-256 in lower-case hexadecimal, and how many they are."""

    digest: str
    size: int


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """One file of a seed: its path in the seed ('/' between the parts), and its bytes."""

    path: str
    blob: Blob


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one attempt may take, and how many attempts a frame gets before it fails.

    `silence` is the time without a line of output or a report of progress after which an attempt is ended; `memory` is
    what its processes may use together, `output` what all that it writes may take, both in bytes. None: no limit.
    """

    time: timedelta = timedelta(hours=24)
    attempts: int = 3
    silence: timedelta | None = None
    memory: int | None = None
    output: int | None = None


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """A job as its author describes it.

    `frames` are those that are as the job says; the frames of `groups` have something of their own, and an id that is
    in both belongs to the group. `width` and `height` are pixels of the finished image, None where the scene or the
    renderer decides. `settings` belong to the renderer, which checks them; their keys and values are text; `content`
    are those of its elements that hold more, as canonical XML. `outputs` are files that each frame must produce beyond
    what the renderer does by itself. `extra` is what the job file holds for others: elements of other namespaces as
    canonical XML, kept as they are. `needs` says which frames wait for which others.
    """

    name: str
    renderer: str
    frames: FrameSet
    pool: str = DEFAULT_POOL
    priority: int = DEFAULT_PRIORITY
    width: int | None = None
    height: int | None = None
    limits: Limits = Limits()
    settings: Mapping[str, str] = field(default_factory=dict)
    content: tuple[str, ...] = ()
    outputs: tuple[Output, ...] = ()
    groups: tuple[Group, ...] = ()
    extra: tuple[str, ...] = ()
    needs: tuple[Needs, ...] = ()

    @property
    def every(self) -> FrameSet:
        """All frames of the job; an id may be in it twice."""
        return FrameSet((*self.frames.ranges, *(ids for group in self.groups for ids in group.frames.ranges)))

    @property
    def animation(self) -> FrameSet:
        """The numbers that the job's own renderer is told, which are its animation; those of all where it has none."""
        own = (group for group in self.groups if group.renderer in (None, self.renderer))
        shown = (ids for group in own for ids in group.frames.shifted(-group.offset).ranges)
        numbers = FrameSet((*self.frames.ranges, *shown))
        return numbers if numbers.ranges else self.every

    @property
    def work(self) -> Work:
        """What is to be done for a frame that is in no group."""
        return Work(renderer=self.renderer, settings=self.settings, content=self.content, outputs=self.outputs)

    @property
    def renderers(self) -> tuple[str, ...]:
        """The renderers that its frames need, each once; the job's own comes first, whether a frame needs it or not."""
        return tuple(dict.fromkeys((self.renderer, *(group.renderer or self.renderer for group in self.groups))))
