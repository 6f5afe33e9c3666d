"""Messages between peers about frames that need frames of another server; numbered, so each arrives once, in order."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from distren.wire.codec import Message
from distren.wire.fields import Blob, FrameOfJob, Id, Name, ShortText

MOST_FRAMES = 10_000
"""in one message"""
LONGEST_PATH = 30
"""frames on the way of a probe"""


class Watch(Message, type="need.watch"):
    """Who needs → who has: tell me what becomes of these frames of a job, now and whenever it changes."""

    job: Id
    frames: Annotated[list[Id], Field(max_length=MOST_FRAMES)]


class Unwatch(Message, type="need.unwatch"):
    """Who needs → who has: I need no frame of this job any more."""

    job: Id


class WatchedFrame(BaseModel):
    """`state`: `unknown` (there is no such frame yet), `open`, `done` with its `result`, `failed` or `cancelled`."""

    model_config = ConfigDict(frozen=True, strict=True)
    job: Id
    frame: Id
    state: Literal["unknown", "open", "done", "failed", "cancelled"]
    result: Blob | None = None
    reason: ShortText = ""


class WatchNews(Message, type="need.news"):
    """Who has → who needs: what has become of frames that are watched."""

    frames: Annotated[list[WatchedFrame], Field(max_length=MOST_FRAMES)]


class Probe(Message, type="need.probe"):
    """Does your frame `at` wait for `start`, a frame of the server `server`, by whatever way? Then there is a cycle.

    Sent along what frames wait for, from server to server; `path` are the frames passed, as references.
    """

    server: Name
    start: FrameOfJob
    at: FrameOfJob
    path: Annotated[list[ShortText], Field(max_length=LONGEST_PATH)]
