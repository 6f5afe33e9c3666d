"""Has a job handed over to another server, and waits until it is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from distren.client.connection import ASK_AGAIN, News, ServerConnection
from distren.errors import DecodeError, JobMoved, NoAnswer
from distren.wire.codec import Message
from distren.wire.moves import Move, Moved, Moving


def hand_over(
    connection: ServerConnection, message: Move, deadline: float | None, on_progress: Callable[[Moving], None] | None
) -> Moved:
    """Where the job is, once it has been handed over. Parameters are those of `Job.move`; so is what it raises.

    The server has news of the job when there is something new to know of its move, so it is asked again at each.
    """
    with connection.listening(message.job, frames=False) as news:
        while True:
            reply = _ask(connection, message)
            if isinstance(reply, Moved):
                return reply
            if not isinstance(reply, Moving):
                raise DecodeError(f"the server answered {message.type} with {reply.type}")
            if deadline is not None and time.monotonic() > deadline:
                raise NoAnswer(f"job {message.job} is still on its way to '{message.server}'")
            if on_progress is not None:
                on_progress(reply)
            _wait(news, deadline)


def _ask(connection: ServerConnection, message: Move) -> Message:
    try:
        if connection.peer is not None:
            connection.look(message.job, frames=False)  # its news go on for a minute
        return connection.ask(message, Message)
    except JobMoved as moved:
        return Moved(server=moved.server, job=moved.job)


def _wait(news: SimpleQueue[News], deadline: float | None) -> None:
    """Wait for news; those that have come already are one."""
    left = ASK_AGAIN if deadline is None else min(ASK_AGAIN, deadline - time.monotonic())
    try:
        news.get(timeout=max(left, 0.0))
        while True:
            news.get_nowait()
    except Empty:
        pass
