"""What a job says: the values that distrenjob.xml, a message and the database all carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from distren.domain.frameset import FrameSet
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
    """What one attempt may take, and how many attempts a frame gets before it fails."""

    time: timedelta = timedelta(hours=24)
    attempts: int = 3


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """A job as its author describes it.

    `width` and `height` are pixels of the finished image, None where the scene or the renderer decides.
    `settings` belong to the renderer, which checks them; their keys and values are text. `extra` is what the job file
    holds for others: elements of other namespaces as canonical XML, kept as they are. `needs` says which frames wait
    for which others.
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
    extra: tuple[str, ...] = ()
    needs: tuple[Needs, ...] = ()
