"""What a renderer prints for a frame: from the worker while an attempt runs, from the server afterwards."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol

from distren.client.connection import News, ServerConnection
from distren.domain.states import FRAME_ENDED, AttemptState, FrameState
from distren.errors import BrokerUnavailable, NoAnswer, NotFound
from distren.wire.frames import ReadLog
from distren.wire.jobs import AttemptInfo, FrameInfo, FrameNews, JobInfo

LOOK_AGAIN = 15.0
"""seconds without news after which is looked again: news may be lost, and a worker that was silent may be back"""
_BREATH = 0.1
"""seconds between two questions to a worker that had little to say"""
_MUCH = 32 * 1024
"""characters of an answer after which the next question follows at once"""


@dataclass(frozen=True, kw_only=True)
class LogPiece:
    """Whole lines of the log of an attempt, the number of which counts from 1.

    `state` is `rendering`, or what became of the attempt in the last piece of it, with the `reason` where it has one.
    """

    attempt: int
    worker: str
    text: str
    state: str = AttemptState.RENDERING
    reason: str | None = None


def log_text(attempt: AttemptInfo) -> str:
    """What the renderer printed during an attempt; a log that can not be unpacked is said to be damaged."""
    if not attempt.log:
        return ""
    try:
        return zlib.decompress(attempt.log).decode("utf-8", "replace")
    except zlib.error:
        return "(the log is damaged)"


@dataclass
class _Heard:
    """What is known of one attempt: the bytes of its log that were told, whether that is all, when to ask again."""

    position: int = 0
    over: bool = False
    ended: bool = False
    not_before: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Seen:
    job: JobInfo
    frame: FrameInfo
    attempts: list[AttemptInfo]


class Job(Protocol):
    """What a follower asks of a job."""

    id: int

    def frame(self, number: int) -> FrameInfo: ...

    def attempts(self, frame: int) -> list[AttemptInfo]: ...


class Follower:
    """Follows `frame` of `job`; `on_wait` is told why there is nothing to follow, once for each reason."""

    def __init__(self, job: Job, connection: ServerConnection, frame: int, on_wait: Callable[[str], None]) -> None:
        self._job, self._connection, self._frame, self._on_wait = job, connection, frame, on_wait
        self._heard: dict[int, _Heard] = {}
        self._said = ""

    def pieces(self) -> Iterator[LogPiece]:
        """What the attempt prints that runs now (or that was the last), and those after it. Raises NotFound."""
        with self._connection.listening(self._job.id, frames=True) as news:
            seen: _Seen | None = self._look()
            assert seen is not None
            self._heard = {one.number: _Heard(ended=True) for one in seen.attempts[:-1]}
            while True:
                if seen is not None:
                    for attempt in seen.attempts:
                        yield from self._follow(attempt)
                    if seen.frame.state in FRAME_ENDED:
                        return
                    if seen.frame.state != FrameState.RENDERING:
                        self._say(f"frame {self._frame} of job {self._job.id} waits: {_why(seen)}")
                self._wait(news, seen)
                seen = self._look_patiently()

    def _look(self) -> _Seen:
        job = self._connection.look(self._job.id, frames=True)
        frame = self._job.frame(self._frame)  # before its attempts: with a frame that has ended, the last one has
        return _Seen(job=job, frame=frame, attempts=self._job.attempts(self._frame))

    def _look_patiently(self) -> _Seen | None:
        """None while the server or the broker is away."""
        try:
            return self._look()
        except (NoAnswer, BrokerUnavailable) as error:
            if self._connection.ended:
                raise
            self._say(f"waiting until the server is back: {error}")
            return None

    def _follow(self, attempt: AttemptInfo) -> Iterator[LogPiece]:
        heard = self._heard.setdefault(attempt.number, _Heard())
        if heard.ended:
            return
        if attempt.state == AttemptState.RENDERING:
            if not heard.over and time.monotonic() >= heard.not_before:
                yield from self._live(attempt, heard)
            return
        heard.ended = True
        if heard.position and not heard.over:
            self._say(f"the rest of it: 'distren logs {self._job.id}/frame/{self._frame} --attempt {attempt.number}'")
        yield LogPiece(
            attempt=attempt.number,
            worker=attempt.worker,
            text="" if heard.position else log_text(attempt),
            state=attempt.state,
            reason=attempt.reason,
        )

    def _live(self, attempt: AttemptInfo, heard: _Heard) -> Iterator[LogPiece]:
        """Ask the worker again and again, until the attempt is over or the worker does not know of it."""
        while not heard.over:
            question = ReadLog(job=self._job.id, frame=self._frame, issue=attempt.issue, position=heard.position)
            try:
                said = self._connection.read_log(attempt.worker, question)
            except (NotFound, NoAnswer, BrokerUnavailable) as error:
                if self._connection.ended:
                    raise
                self._say(f"the log of attempt {attempt.number} comes when it has ended: {error}")
                heard.not_before = time.monotonic() + LOOK_AGAIN
                return
            heard.position, heard.over = said.position, said.over
            if said.text:
                yield LogPiece(attempt=attempt.number, worker=attempt.worker, text=said.text)
            if len(said.text) < _MUCH and not said.over:
                time.sleep(_BREATH)

    def _wait(self, news: SimpleQueue[News], seen: _Seen | None) -> None:
        """Wait for news that change something for the frame."""
        until = time.monotonic() + LOOK_AGAIN
        while (left := until - time.monotonic()) > 0:
            try:
                item = news.get(timeout=left)
            except Empty:
                return
            if item is None or seen is None or _tells_more(item, seen):
                return

    def _say(self, reason: str) -> None:
        if reason != self._said:
            self._said = reason
            self._on_wait(reason)


def _tells_more(news: News, seen: _Seen) -> bool:
    if isinstance(news, FrameNews):
        old = seen.frame  # news of mere progress name no number of attempts
        return any(
            (one.state, one.attempts or old.attempts, one.worker) != (old.state, old.attempts, old.worker)
            for one in news.frames
            if one.frame == old.frame
        )
    return news is None or (news.state, news.error) != (seen.job.state, seen.job.error)


def _why(seen: _Seen) -> str:
    """Why no worker renders the frame now."""
    frame = seen.frame
    if frame.state == FrameState.BLOCKED:
        return frame.reason or "it needs other frames"
    if seen.job.error:
        return seen.job.error
    if frame.not_before is not None and (left := frame.not_before - time.time()) > 0:
        return f"it is tried again in {left:.0f} s because {frame.reason}"
    return "no worker has begun it yet"
