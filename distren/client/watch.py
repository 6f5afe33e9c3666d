"""A job as it changes: from the server's news, and by asking where those may have been missed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

from distren.client.connection import ASK_AGAIN, News, ServerConnection
from distren.domain.states import JOB_ENDED
from distren.errors import BrokerUnavailable, NoAnswer
from distren.wire.jobs import FrameInfo, FrameNews, JobInfo

log = logging.getLogger(__name__)

RENEW_AFTER = 30.0
"""seconds after which a peer is asked to go on sending news"""
OnFrames = Callable[[list[FrameInfo]], None]


def until_ended(
    connection: ServerConnection, job: int, deadline: float | None, on_frames: OnFrames | None
) -> Iterator[JobInfo]:
    """The job now, then after each change, until it has ended. Parameters are those of `Job.watch`; so is what it does.

    Raises JobMoved where it has gone to another server.
    """
    frames = on_frames is not None
    with connection.listening(job, frames=frames) as news:
        info = connection.look(job, frames=frames)
        renewed = time.monotonic()
        yield info
        while info.state not in JOB_ENDED:
            if connection.peer is not None and time.monotonic() - renewed > RENEW_AFTER:
                renewed = time.monotonic()
                news.put(None)
            changed = _next(connection, info, news, deadline, on_frames)
            if changed is not None:
                info = changed
                yield info


def _next(
    connection: ServerConnection,
    info: JobInfo,
    news: SimpleQueue[News],
    deadline: float | None,
    on_frames: OnFrames | None,
) -> JobInfo | None:
    """The job after the next news of it; None where the news was about something else."""
    left = ASK_AGAIN if deadline is None else min(ASK_AGAIN, deadline - time.monotonic())
    if left <= 0:
        raise NoAnswer(f"job {info.job} is still {info.state}: it did not end in the time given")
    try:
        item = news.get(timeout=left)
    except Empty:
        item = None
    if item is None:
        return _look_patiently(connection, info.job, frames=on_frames is not None)
    if isinstance(item, FrameNews):
        if on_frames is not None:
            on_frames(item.frames)
        return None
    if item.state in JOB_ENDED:
        return _look_patiently(connection, info.job, frames=False)
    told = {"state": item.state, "counts": item.counts, "rate": item.rate, "error": item.error}
    return info.model_copy(update=told)


def _look_patiently(connection: ServerConnection, job: int, *, frames: bool) -> JobInfo | None:
    """The job as it is now; None while the server or the broker is away."""
    try:
        return connection.look(job, frames=frames)
    except (NoAnswer, BrokerUnavailable) as error:
        if connection.ended:
            raise
        log.warning("no answer, waiting until the server is back: %s", error)
        return None
