"""Messages about frames: what a server sends to workers, and what workers tell the server."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from distren.domain.needs import MOST_OF_A_FRAME
from distren.wire.codec import Message
from distren.wire.fields import (
    Blob,
    Content,
    Count,
    FrameOfJob,
    Id,
    Name,
    NeededResult,
    PlacedResult,
    Seconds,
    ShortText,
    Token,
)

INLINE = 2**20
"""bytes; a frame tarball or log of at most this size travels inside the event, a larger one as a blob before it"""
LEAVES = 2
"""times that a worker leaves a frame that it has failed to others, before it takes it all the same"""
Inline = Annotated[bytes, Field(max_length=INLINE)]
LogLines = Annotated[str, Field(max_length=INLINE)]


class OutputFile(BaseModel):
    """A file that a frame must produce: its path in the working directory; perhaps an image, of a certain size."""

    model_config = ConfigDict(frozen=True, strict=True)
    path: ShortText
    image: bool = False
    width: Count | None = None
    height: Count | None = None


class Render(Message, type="frame.render"):
    """Server → worker: render this frame. `first` and `last` are the job's frame range, `manifest` lists its inputs.

    `renderer`, `settings` and `content` (elements of the settings that hold more than text, as canonical XML) are those
    of this very frame. `number` is what the renderer is told as the frame's number, the id where it is None. `outputs`
    are files that it must produce beyond those of its renderer. The limits are seconds (`silence_limit`: without a line
    of output or progress) and bytes; None is no limit. `needs` are the frames that it needs, with their frame tarballs;
    `placed` are those of other servers, each with its folder below `needs/`. Workers of `avoid` have failed it: they
    leave it to others that are free. Once it has come back `returns` times from workers that took it, it goes to the
    dead letters instead.
    """

    job: Id
    frame: Id
    number: Id | None = None
    issue: Count
    renderer: Name
    manifest: Blob
    first: Id
    last: Id
    width: Count | None = None
    height: Count | None = None
    settings: dict[str, ShortText] = {}
    content: Annotated[list[Content], Field(max_length=10_000)] = []
    outputs: Annotated[list[OutputFile], Field(max_length=1_000)] = []
    time_limit: Seconds
    silence_limit: Seconds | None = None
    memory_limit: Count | None = None
    output_limit: Count | None = None
    needs: Annotated[list[NeededResult], Field(max_length=MOST_OF_A_FRAME)] = []
    avoid: Annotated[list[Name], Field(max_length=100)] = []
    returns: Count | None = None
    placed: Annotated[list[PlacedResult], Field(max_length=MOST_OF_A_FRAME)] = []


class _Event(Message):
    """What every event of an attempt says. `token` names the attempt, `started` is when it began (seconds, UTC)."""

    worker: Name
    job: Id
    frame: Id
    issue: Count
    token: Token
    started: Seconds


class Started(_Event, type="frame.started"):
    """A worker has begun an attempt. May be lost: what follows says it again."""


class Progress(_Event, type="frame.progress"):
    """How far an attempt is. May be lost."""

    percent: Annotated[float, Field(ge=0, le=100)]


class _Ended(_Event):
    """An attempt is over, after `seconds` of rendering. The log is zlib-compressed text, capped by the worker.

    `memory` is the most that its processes held at once (bytes, 0: not known), `processor` their seconds of processor
    time.
    """

    seconds: Seconds
    log: Inline = b""
    memory: Count = 0
    processor: Seconds = 0.0


class Completed(_Ended, type="frame.completed"):
    """An attempt produced `result`, a frame tarball: in this message as `tarball`, or stored as a blob before it.

    `warnings` are lines on what somebody should look at: a picture that is black all over.
    """

    result: Blob
    tarball: Inline | None = None
    warnings: Annotated[list[ShortText], Field(max_length=100)] = []


class Failed(_Ended, type="frame.failed"):
    """An attempt failed. `permanent`: another attempt would fail alike (a parse error in the scene)."""

    reason: ShortText
    permanent: bool = False


class ReadLog(Message, type="log.read"):
    """Client → worker: what has been printed from byte `position` on in the attempt at this issue of a frame?

    Answered at once where there is something, else when there is or after a few seconds; with Problem (NotFound) by a
    worker that has no such attempt. One answer is all that a worker ever owes a client, so a slow one costs nothing.
    """

    job: Id
    frame: Id
    issue: Count
    position: Count


class LogText(Message, type="log.text"):
    """Worker → client: whole lines, the `position` after them, and whether the attempt is `over` and this was all."""

    text: LogLines
    position: Count
    over: bool


class Report(Message, type="worker.report"):
    """Worker → server, every few seconds and whenever something here changes. May be lost.

    `queue` is the worker's class queue, `room` how many frames it takes at once (its consumers on that queue),
    `slots` how many of those it renders at once now, `held` the tokens of the attempts in its hands.
    `allows`, by capability: the settings that its owner lets jobs give, with their choices (None: the worker decides).
    """

    worker: Name
    host: Name
    pid: Count
    pool: Name
    queue: Name
    renderers: dict[str, ShortText]
    slots: Count
    room: Count
    state: Name
    held: Annotated[list[Token], Field(max_length=10_000)]
    held_frames: Annotated[list[FrameOfJob], Field(max_length=10_000)] = []
    cores: Count
    memory: Count
    started: Seconds
    software: Name
    sandboxed: bool = False
    allows: Annotated[dict[Name, dict[Name, list[ShortText] | None]], Field(max_length=1_000)] = {}


class Stop(Message, type="frame.stop"):
    """Server → every worker: end the attempts at these frames of a job (all of them where `frames` is None)."""

    job: Id
    frames: list[Id] | None = None


class Quarantine(Message, type="worker.quarantine"):
    """Server → every worker, for the one that it names: take no more frames, for `reason`; None: take them again."""

    worker: Name
    reason: ShortText | None


class ReportWanted(Message, type="worker.report_wanted"):
    """Server → every worker: report now; a server that has just started does not know who is there."""
