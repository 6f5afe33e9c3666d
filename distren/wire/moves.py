"""Messages about jobs that are handed over to another server: what clients ask, and what the two servers say."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from distren.wire.codec import Message
from distren.wire.fields import Blob, Count, Id, Name, Range, Seconds, ShortText, Token

_Number = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""as large as databases store it"""


class Move(Message, type="job.move"):
    """Client → server: hand this job over to the peer `server`. Asked again with the same `key`: how does it go?"""

    job: Id
    server: Name
    key: Token


class Moving(Message, type="job.moving"):
    """Server → client: the job is on its way; ask again when there is news of it. Bytes; `waits` says what keeps it."""

    sent: Count
    missing: Count
    waits: ShortText = ""


class Moved(Message, type="job.moved"):
    """Server → client, whatever it asked of a job that was handed over: it is `job` of `server` now."""

    server: Name
    job: Id


class DoneFrame(BaseModel):
    """A frame that is done, and the attempt that did it; `log` is zlib-compressed text. Times in seconds, UTC."""

    model_config = ConfigDict(frozen=True, strict=True)
    frame: Id
    result: Blob
    number: _Number
    issue: _Number
    worker: Name
    started: Seconds
    ended: Seconds
    seconds: Seconds | None = None
    warning: ShortText | None = None
    log: bytes = b""
    memory: Count | None = None
    processor: Seconds | None = None
    file: Count | None = None


class FramesSoFar(Message, type="move.frames"):
    """What has become of some frames of a job that is handed over; travels as a blob, since it may be large."""

    done: list[DoneFrame]
    cancelled: list[Range] = []


class TakeOver(Message, type="move.take"):
    """Server → peer: this job is yours; it and all that it names is stored at you.

    `frames` are blobs that hold `move.frames`; `next_file` is the next file id that its server would have given.
    """

    job: Id
    key: Token
    manifest: Blob
    priority: Annotated[int, Field(ge=0, le=100)]
    paused: bool
    next_file: Count
    frames: Annotated[list[Blob], Field(max_length=100_000)]


class TakenOver(Message, type="move.taken"):
    """Peer → server: the job has the id `became` here; or it is refused, by `error` (a class name) with `reason`."""

    job: Id
    key: Token
    became: Id | None
    error: ShortText = ""
    reason: ShortText = ""
