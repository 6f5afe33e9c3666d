"""Tells whoever listens what has changed. News may be lost; a listener that misses some asks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from distren.amqp.link import Link
from distren.amqp.publisher import Outgoing
from distren.amqp.topology import CONTROL, NEWS, frame_news, job_news
from distren.domain.states import JOB_ENDED, FrameState, JobState
from distren.server import views
from distren.server.state import State
from distren.storage.jobs import Job
from distren.wire.frames import Progress
from distren.wire.jobs import FrameInfo, FrameNews, JobNews

EVERY = 0.1
"""seconds between two news of a job that goes on; its end is told at once"""
_FRAMES_AT_ONCE = 1_000


class News:
    """Publishes the changes that a server's state has collected."""

    def __init__(self, state: State, link: Link, also: Callable[[JobNews | FrameNews], None] = lambda _: None) -> None:
        """`also` is told everything too."""
        self._state, self._link, self._also = state, link, also
        self._told: dict[int, float] = {}
        self._waiting: dict[int, Job] = {}

    def take(self) -> None:
        """Collect what has changed, and tell of the frames at once."""
        changed, self._state.changed = self._state.changed, []
        now = self._state.steady()
        frames: defaultdict[int, list[FrameInfo]] = defaultdict(list)
        for change in changed:
            for stored in change.frames:
                frame = stored.frame
                if frame.state is FrameState.RENDERING:
                    self._state.rates.begin(frame.job, now)
                else:
                    self._state.progress.pop((frame.job, frame.id), None)
                if frame.state is FrameState.DONE:
                    self._state.rates.count(frame.job, 1, now)
                frames[frame.job].append(views.frame_info(stored, self._state.progress))
            self._waiting.update({job.id: job for job in change.jobs})
        for job, infos in frames.items():
            for start in range(0, len(infos), _FRAMES_AT_ONCE):
                part = infos[start : start + _FRAMES_AT_ONCE]
                self._publish(frame_news(job), FrameNews(server=self._state.name, job=job, frames=part))

    def progress(self, event: Progress) -> None:
        """Tell how far a frame is."""
        info = FrameInfo(
            frame=event.frame,
            state=str(FrameState.RENDERING),
            attempts=0,
            worker=event.worker,
            started=event.started,
            ended=None,
            percent=event.percent,
        )
        self._publish(frame_news(event.job), FrameNews(server=self._state.name, job=event.job, frames=[info]))

    def tell(self) -> float | None:
        """Publish the jobs' news that are due; the steady time at which the next are, None where none wait."""
        now = self._state.steady()
        for number, job in list(self._waiting.items()):
            ended = job.state in JOB_ENDED
            if ended or now - self._told.get(number, 0.0) >= EVERY:
                del self._waiting[number]
                self._told[number] = now
                if ended:
                    self._told.pop(number)
                rate = self._state.rates.of(number, now)
                why = self._state.why_waiting(job)
                news = views.job_news(self._state.name, job, rate=rate, why=why)
                self._publish(job_news(number), news)
                if ended:  # programs that stay for its frames may go
                    self._publish("", news, CONTROL)
                if job.state is not JobState.ACTIVE:
                    self._state.rates.forget(number)
        return min((self._told[number] + EVERY for number in self._waiting), default=None)

    def _publish(self, key: str, message: JobNews | FrameNews, exchange: str = NEWS) -> None:
        if exchange == NEWS:
            self._also(message)
        if self._link.blocked is not None:
            return  # it would wait in memory, and be old when it is sent
        body = message.encode()
        self._link.publish(Outgoing(exchange=exchange, key=key, body=body, persistent=False, type=message.type))
