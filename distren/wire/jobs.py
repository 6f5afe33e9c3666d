"""Messages between a client and a server about jobs: each request is answered by one reply, or by Problem."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from distren.wire.codec import Message
from distren.wire.fields import (
    Blob,
    Count,
    Digest,
    FrameOfJob,
    Id,
    Name,
    Range,
    Seconds,
    ShortText,
    Text,
    Token,
)

MOST_RANGES = 10_000
"""that one change names"""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class Problem(Message, type="problem"):
    """The request was refused: `error` is a class name of `distren.errors`, `text` its one line."""

    error: Name
    text: ShortText


class Describe(Message, type="server.describe"):
    """Who are you?"""


class Description(Message, type="server.description"):
    """The server's name, the version of DistRen that it runs, and the renderers that its workers have.

    `database` is a random word that tells its database from any other.
    """

    server: Name
    software: Name
    renderers: dict[str, Count]
    database: ShortText = ""


class Submit(Message, type="job.submit"):
    """Take this job: `manifest` is the blob of a wire.manifest list; it and every file that it names are stored.

    `key` is random, made by the client: a request repeated after a lost reply gets the same job.
    """

    manifest: Blob
    key: Token


class Submitted(Message, type="job.submitted"):
    """The job's id and how many frames it has."""

    server: Name
    job: Id
    frames: Count


class LimitsInfo(_Record):
    """What one attempt may take, in seconds and bytes (None: no limit), and how many attempts a frame gets."""

    time: Seconds
    attempts: Count
    silence: Seconds | None = None
    memory: Count | None = None
    output: Count | None = None


class JobInfo(_Record):
    """A job as a client sees it. Times are seconds since 1970, UTC; `counts` are frames by state, `rate` frames/s.

    `renderers` are all that its frames need, `renderer` is that of the frames that name no other one.

    `error` says why the job does not go on, or why it failed, in one line; empty where nothing is wrong.
    """

    job: Id
    name: Name
    renderer: Name
    pool: Name
    priority: Count
    state: Name
    counts: dict[str, Count]
    created: Seconds
    ended: Seconds | None
    width: Count | None
    height: Count | None
    rate: Seconds = 0.0
    error: ShortText = ""
    renderers: list[Name] = []
    limits: LimitsInfo | None = None


class ListJobs(Message, type="job.list"):
    """The jobs, newest first; `before` continues a listing below that id."""

    before: Id | None = None
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100


class Jobs(Message, type="job.listing"):
    jobs: list[JobInfo]
    server: Name


class ShowJob(Message, type="job.show"):
    job: Id


class ShownJob(Message, type="job.shown"):
    server: Name
    job: JobInfo


class FrameInfo(_Record):
    """A frame as a client sees it; `percent` is how far its attempt is, `result` its frame tarball when done.

    `reason` says why it has failed or waits, `warning` what somebody should look at in the result of one that is done.
    `waits_for` is how many frames that it needs are not done. `renderer` and `label` are those of its group, None for
    a frame that is as its job says. An `intermediate` one serves others only: it is fetched only where it is named.
    Where `reason` is why it is tried again: `tried` is when the attempt ended, `not_before` when the next may begin.
    """

    frame: Id
    state: Name
    attempts: Count
    worker: ShortText | None
    started: Seconds | None
    ended: Seconds | None
    percent: Seconds = 0.0
    reason: ShortText | None = None
    result: Blob | None = None
    waits_for: Count = 0
    renderer: Name | None = None
    label: Name | None = None
    warning: ShortText | None = None
    tried: Seconds | None = None
    not_before: Seconds | None = None
    intermediate: bool = False


class ListFrames(Message, type="frame.list"):
    """The frames of a job by id, those above `after`; of `states` alone where given."""

    job: Id
    after: int = -1
    limit: Annotated[int, Field(ge=1, le=10_000)] = 10_000
    states: list[Name] | None = None


class Frames(Message, type="frame.listing"):
    """`more`: there are further frames above the last one listed."""

    frames: list[FrameInfo]
    more: bool


class Change(Message, type="job.change"):
    """Do this to a job, or with `retry` and `cancel` to some of its frames (`frames` as ranges: first, last, step).

    `force`: delete a job that has not ended.
    """

    job: Id
    action: Literal["cancel", "pause", "resume", "retry", "priority", "delete"]
    force: bool = False
    priority: Annotated[int, Field(ge=0, le=100)] | None = None
    frames: Annotated[list[Range], Field(max_length=MOST_RANGES)] | None = None


class ListAttempts(Message, type="frame.attempts"):
    """The attempts at a frame, oldest first, with their logs."""

    job: Id
    frame: Id


class AttemptInfo(_Record):
    """One try at a frame: `log` is zlib-compressed text of at most 1 MiB, empty where none is kept.

    `memory` is the most that it held at once (bytes), `processor` its seconds of processor time.
    """

    number: Count
    issue: Count
    worker: Name
    state: Name
    started: Seconds
    ended: Seconds | None
    seconds: Seconds | None
    reason: ShortText | None
    log: bytes
    memory: Count | None = None
    processor: Seconds | None = None


class Attempts(Message, type="frame.attempted"):
    attempts: list[AttemptInfo]


class FileInfo(_Record):
    """A file of a job: its id in that job, what it is, its path, and the blob that it is.

    The kinds are `input`, `bundle` (no blob: it is made when it is fetched), `output` (a frame tarball) and `log`
    (`blob` is that of its text, which an attempt record brings); the last two are of an `attempt` at a `frame`.
    """

    file: Id
    kind: Name
    path: Text
    blob: Blob | None = None
    frame: Id | None = None
    attempt: Count | None = None


class ListFiles(Message, type="file.list"):
    """The files of a job by id, those above `after`."""

    job: Id
    after: Annotated[int, Field(ge=-1, le=2**63 - 1)] = -1
    limit: Annotated[int, Field(ge=1, le=5_000)] = 5_000


class Files(Message, type="file.listing"):
    """`more`: there are further files above the last one listed."""

    files: list[FileInfo]
    more: bool


class ListWorkers(Message, type="worker.list"):
    """The workers that have reported within the last days, those at work first."""


class ReleaseWorker(Message, type="worker.release"):
    """Let a worker go on that is in quarantine; the reply is worker.listing, with this one alone."""

    worker: Name


class WorkerInfo(_Record):
    """A worker as a client sees it; `seen` is the time of its last report, `trouble` why it gets no frames."""

    worker: Name
    host: Name
    pool: Name
    queue: Name
    renderers: dict[str, ShortText]
    slots: Count
    state: Name
    held: list[FrameOfJob]
    cores: Count
    memory: Count
    seen: Seconds
    done: Count = 0
    sandboxed: bool = False
    trouble: ShortText | None = None


class Workers(Message, type="worker.listing"):
    workers: list[WorkerInfo]


class JobNews(Message, type="job.news"):
    """Server → whoever listens, after a change of the job: its state and counts. May be lost: ask when in doubt."""

    server: Name
    job: Id
    state: Name
    counts: dict[str, Count]
    rate: Seconds = 0.0
    error: ShortText = ""


class FrameNews(Message, type="frame.news"):
    """Server → whoever listens: some frames of a job have changed, or are `percent` done. May be lost."""

    server: Name
    job: Id
    frames: list[FrameInfo]


class ManifestFile(_Record):
    """One file of a seed: path with '/', digest and size."""

    path: Text
    digest: Digest
    size: Count


class Manifest(Message, type="manifest"):
    """The files of a seed; stored as a blob, since it may be large. Holds distrenjob.xml at the root."""

    files: list[ManifestFile]
