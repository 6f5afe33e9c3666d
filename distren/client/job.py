"""A job on the farm, as a program sees it: ask, wait, change, fetch."""

from __future__ import annotations

import logging
import secrets
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from distren import urls
from distren.amqp.requests import Reply
from distren.client import fetch, handing, watch
from distren.client.connection import ServerConnection
from distren.client.logs import Follower, LogPiece
from distren.client.plan import ENCODE
from distren.domain import frameset
from distren.domain.frameset import FrameSet
from distren.domain.states import FrameState, JobState
from distren.errors import (
    Conflict,
    FrameRangeError,
    JobFailed,
    JobMoved,
    NotFound,
)
from distren.urls import Url
from distren.wire.codec import Message
from distren.wire.jobs import (
    MOST_RANGES,
    AttemptInfo,
    Attempts,
    Change,
    FileInfo,
    Files,
    FrameInfo,
    Frames,
    JobInfo,
    ListAttempts,
    ListFiles,
    ListFrames,
    ShowJob,
    ShownJob,
)
from distren.wire.moves import Move, Moving

if TYPE_CHECKING:
    from distren.client.results import Results

log = logging.getLogger(__name__)

_MOST_MOVES = 8
_PAGE = 10_000
Way = Callable[[str], "tuple[ServerConnection, Results]"]
Asked = TypeVar("Asked")
FrameNumbers = str | FrameSet | Iterable[int] | None
"""frames as people write them (`1-24`), as a set, or one by one; None: all"""


class Job:
    """One job; made by `Farm.submit` and `Farm.job`. Every method raises NotFound where the server has no such job.

    A job that is handed over to another server is followed there: `server`, `id` and `url` are then what it is now.
    """

    def __init__(self, way: Way, *, server: str, job: int) -> None:
        """`way` leads to any server by its name."""
        self._way = way
        self.server, self.id = server, job
        self._connection, self._results = way(server)

    @property
    def url(self) -> str:
        """`distren://<server>/<job>`"""
        return str(Url(server=self.server, job=self.id))

    def __repr__(self) -> str:
        return f"<Job {self.url}>"

    def _ask(self, message: Message, expect: type[Reply]) -> Reply:
        """The reply to a message about this job, wherever the job is now."""
        return self._there(lambda: self._connection.ask(message.model_copy(update={"job": self.id}), expect))

    def _there(self, ask: Callable[[], Asked]) -> Asked:
        """What `ask` returns where the job is now: it may have been handed over several times."""
        for _ in range(_MOST_MOVES):
            try:
                return ask()
            except JobMoved as moved:
                self._follow(moved.server, moved.job)
        raise NotFound(f"job {self.id} of '{self.server}' goes from server to server: ask the servers' operators")

    def _follow(self, server: str, job: int) -> None:
        self._connection, self._results = self._way(server)
        self.server, self.id = server, job

    # -- asking ------------------------------------------------------------------------------------------------------

    def info(self) -> JobInfo:
        """The job's state, its frames counted by state, and the rest of its record."""
        return self._ask(ShowJob(job=self.id), ShownJob).job

    def frames(self, states: Iterable[str] | None = None) -> Iterator[FrameInfo]:
        """The frames by number; those in one of `states` alone where given."""
        wanted = None if states is None else [str(state) for state in states]
        after = -1
        while True:
            page = self._ask(ListFrames(job=self.id, after=after, limit=_PAGE, states=wanted), Frames)
            yield from page.frames
            if not page.more or not page.frames:
                return
            after = page.frames[-1].frame

    def frame(self, number: int) -> FrameInfo:
        """One frame; raises NotFound where the job has none of this number."""
        page = self._ask(ListFrames(job=self.id, after=number - 1, limit=1), Frames)
        for frame in page.frames:
            if frame.frame == number:
                return frame
        raise NotFound(f"job {self.id} has no frame {number}: 'distren frames {self.id}' lists its frames")

    def files(self) -> Iterator[FileInfo]:
        """The files of the job by id."""
        after = -1
        while True:
            page = self._ask(ListFiles(job=self.id, after=after), Files)
            yield from page.files
            if not page.more or not page.files:
                return
            after = page.files[-1].file

    def file(self, number: int) -> FileInfo:
        """One file; raises NotFound where the job has none of this id."""
        page = self._ask(ListFiles(job=self.id, after=number - 1, limit=1), Files)
        for file in page.files:
            if file.file == number:
                return file
        raise NotFound(f"job {self.id} has no file {number}: 'distren files {self.id}' lists its files")

    def attempts(self, frame: int) -> list[AttemptInfo]:
        """The attempts at a frame, oldest first; `log` is zlib-compressed text."""
        return self._ask(ListAttempts(job=self.id, frame=frame), Attempts).attempts

    def follow_log(self, frame: int, on_wait: Callable[[str], None] | None = None) -> Iterator[LogPiece]:
        """What the renderer prints for a frame, as it prints it, attempt after attempt until the frame has ended.

        Begins with all that the attempt that runs now has printed, or with the last one where none runs; `on_wait` is
        told, in one line, why there is nothing to follow now. Raises NotFound where there is no such frame.
        """
        return Follower(self, self._connection, frame, on_wait or _ignored).pieces()

    # -- waiting -----------------------------------------------------------------------------------------------------

    def watch(
        self,
        *,
        timeout: float | None = None,
        on_frames: Callable[[list[FrameInfo]], None] | None = None,
    ) -> Iterator[JobInfo]:
        """The job now, then after each change, until it has ended; `on_frames` gets what changes in single frames.

        A server or broker that goes away and comes back in between ends nothing. Raises NoAnswer after `timeout`
        seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                yield from watch.until_ended(self._connection, self.id, deadline, on_frames)
                return
            except JobMoved as moved:
                self._follow(moved.server, moved.job)

    def wait(self, timeout: float | None = None, on_news: Callable[[JobInfo], None] | None = None) -> JobInfo:
        """Wait until every frame is done. Raises JobFailed where some never will be, NoAnswer after `timeout` s."""
        info: JobInfo | None = None
        for info in self.watch(timeout=timeout):
            if on_news is not None:
                on_news(info)
        assert info is not None
        self.check_done(info)
        return info

    def check_done(self, info: JobInfo) -> None:
        """Raise JobFailed unless the job is done."""
        total, done = sum(info.counts.values()), info.counts.get(FrameState.DONE, 0)
        if info.state == JobState.CANCELLED:
            raise JobFailed(f"job {self.id} was cancelled with {done} of {total} frames done")
        if info.state == JobState.FAILED:
            raise JobFailed(
                f"job {self.id} failed with {done} of {total} frames done: 'distren frames {self.id}' says why, "
                f"'distren retry {self.id}' tries again"
            )
        if info.state != JobState.DONE:
            raise JobFailed(
                f"job {self.id} is {info.state} with {done} of {total} frames done: wait for it with "
                f"'distren watch {self.id}', or fetch what there is with --partial"
            )

    # -- changing ----------------------------------------------------------------------------------------------------

    def cancel(self, frames: FrameNumbers = None) -> JobInfo:
        """Call the job off, or some of its frames; what is done stays."""
        return self._change("cancel", frames=frames)

    def pause(self) -> JobInfo:
        """Hand out no more frames until it is resumed; frames in hand are finished."""
        return self._change("pause")

    def resume(self) -> JobInfo:
        return self._change("resume")

    def retry(self, frames: FrameNumbers = None) -> JobInfo:
        """Render the frames that failed or were cancelled again; named `frames` again whatever became of them."""
        return self._change("retry", frames=frames)

    def set_priority(self, priority: int) -> JobInfo:
        """0 to 100; jobs with a larger one are rendered earlier."""
        return self._change("priority", priority=priority)

    def move(
        self,
        server: str,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Moving], None] | None = None,
    ) -> None:
        """Hand the job over to a peer of its server: it renders what is not done, and bundles. Waits until it is there.

        What is done goes along; frames that are being rendered are rendered there. From then on this object, and every
        reference to the old place, mean the job at its new place. `on_progress` is told how far it is. Raises Conflict
        for a job that has ended, that needs frames of other jobs or is needed by others, what the peer refuses it with
        (then it goes on where it was), and NoAnswer after `timeout` seconds: it is on its way then, and `Job.resume`
        keeps it.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        self.info()  # wherever it is now
        name, key = urls.server_name(server), secrets.token_hex(16)
        while True:
            message = Move(job=self.id, server=name, key=key)
            moved = handing.hand_over(self._connection, message, deadline, on_progress)
            self._follow(moved.server, moved.job)
            if self.server == name:
                return

    def delete(self, *, force: bool = False) -> JobInfo:
        """Delete the job with all that it has; with `force` even if it has not ended. Raises Conflict otherwise.

        Returns the job as it was. Its id is never given again.
        """
        return self._change("delete", force=force)

    def _change(
        self,
        action: Literal["cancel", "pause", "resume", "retry", "priority", "delete"],
        *,
        priority: int | None = None,
        frames: FrameNumbers = None,
        force: bool = False,
    ) -> JobInfo:
        numbers = frame_numbers(frames)
        ranges = None if numbers is None else [(part[0], part[-1], part.step) for part in numbers.ranges]
        parts = (
            [None] if ranges is None else [ranges[at : at + MOST_RANGES] for at in range(0, len(ranges), MOST_RANGES)]
        )
        changed: JobInfo | None = None
        refused: Conflict | None = None
        for part in parts:
            change = Change(job=self.id, action=action, priority=priority, frames=part, force=force)
            try:
                changed = self._ask(change, ShownJob).job
            except Conflict as error:  # it may be that nothing changes for these alone
                refused = error
        if changed is not None:
            return changed
        assert refused is not None
        raise refused

    # -- fetching ----------------------------------------------------------------------------------------------------

    def fetch_file(self, number: int, target: Path | str) -> fetch.Fetched:
        """Bring one file of the job to `target`, or into the folder that `target` is.

        An input is a file of the seed, an output a frame tarball, a log text; the bundle of a job that is done is a
        tarball, compressed as `target` says.
        """
        file = self.file(number)
        if file.kind == "bundle":
            return self.fetch(fetch.place_of_file(file, Path(target)))
        if file.kind == "log":
            assert file.frame is not None
            logs = [one.log for one in self.attempts(file.frame) if one.number == file.attempt]
            return fetch.write_file(zlib.decompress(logs[0]), fetch.place_of_file(file, Path(target)))
        return fetch.fetch_file(self._results, file, Path(target))

    def fetch(
        self,
        target: Path | str,
        frames: FrameNumbers = None,
        *,
        partial: bool = False,
        by_frame: bool = False,
        without: Collection[int] = (),
        on_frame: Callable[[FrameInfo], None] | None = None,
    ) -> fetch.Fetched:
        """Bring the done frames' files into the folder `target`, or into one tarball where it is called *.tar or
        *.tar.gz, .bz2, .xz, .zst.

        Files appear complete or not at all; files that are there already are kept. `by_frame` gives each frame a
        folder `frame-<id>`. Intermediate frames and those in `without` come only where `frames` names them. Unless
        `partial`, every frame must be done. Raises JobFailed, NotFound, OutputError.
        """
        chosen = self._chosen(frame_numbers(frames), partial=partial, without=without)
        return fetch.fetch(self._results, chosen, Path(target), by_frame=by_frame, on_frame=on_frame)

    def video(self) -> FrameInfo | None:
        """The frame that makes the job's video; None for a job that has none."""
        if ENCODE not in self.info().renderers:
            return None
        return next((frame for frame in self.frames() if frame.renderer == ENCODE), None)

    def _chosen(self, wanted: FrameSet | None, *, partial: bool, without: Collection[int]) -> list[FrameInfo]:
        if wanted is None:
            if not partial:
                self.check_done(self.info())
            done = self.frames([FrameState.DONE])
            return [frame for frame in done if not frame.intermediate and frame.frame not in without]
        every = {frame.frame: frame for frame in self.frames() if frame.frame in wanted}
        for number in wanted:
            if number not in every:
                raise NotFound(f"job {self.id} has no frame {number}")
            if every[number].state != FrameState.DONE and not partial:
                raise JobFailed(
                    f"frame {number} of job {self.id} is {every[number].state}: add --partial to go without"
                )
        return [frame for frame in every.values() if frame.state == FrameState.DONE]


def frame_numbers(frames: FrameNumbers) -> FrameSet | None:
    """The set that `frames` names; raises FrameRangeError."""
    if frames is None or isinstance(frames, FrameSet):
        return frames
    if isinstance(frames, str):
        return frameset.parse(frames)
    numbers = list(frames)
    if not numbers or min(numbers) < 0 or max(numbers) > frameset.LARGEST_FRAME:
        raise FrameRangeError(f"frames are one or more numbers from 0 to {frameset.LARGEST_FRAME}")
    return frameset.of(numbers)


def _ignored(text: str) -> None:
    pass
