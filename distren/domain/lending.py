"""Frames that are lent to a peer: the names of the queues that stand for it, and when a server lends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from distren.errors import DecodeError

Eagerness = Literal["never", "always"] | float
"""`never`, `always`, or minutes: lent is when a server's own workers have more than that to do"""
_MARK = "peer/"
_PLACE = re.compile(r"([a-z0-9.-]{1,63}/)?([0-9]{1,19}/)?frame/[0-9]{1,19}", re.ASCII)


def queue(peer: str, name: str) -> str:
    """What stands in a frame's record for the queue `name` of a peer: no queue of our broker has such a name."""
    return f"{_MARK}{peer}/{name}"


def peer_of(queue: str | None) -> str | None:
    """The peer that a frame with this queue is lent to; None for a queue of our own."""
    return queue.split("/", 2)[1] if queue is not None and queue.startswith(_MARK) else None


def is_eager(eagerness: Eagerness, backlog: float | None) -> bool:
    """Whether to lend, with `backlog` seconds of work for the own workers; None: nobody knows how much.

    Infinite is the backlog of a server whose own workers can not render the frame at all.
    """
    if eagerness == "never":
        return False
    if eagerness == "always" or backlog == float("inf"):
        return True
    return backlog is not None and backlog > eagerness * 60


def suits(renderer: str, offered: Mapping[str, str], own: set[str]) -> bool:
    """Whether a peer with these renderers and versions renders as our own workers do; `own`: our versions, if any."""
    return renderer in offered and (not own or offered[renderer] in own)


def place(path: str) -> str:
    """A folder below `needs/` that a server names; raises DecodeError for one that is none."""
    if not _PLACE.fullmatch(path) or ".." in path:
        raise DecodeError(f"a needed result has no proper place: '{path[:100]}'")
    return path
