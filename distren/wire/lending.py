"""Messages between peers about lent frames; they are numbered, so each arrives once, in order.

The *lender* owns the job, the *borrower* renders. Job ids, frame ids and issues are the lender's.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from distren.wire.codec import Message
from distren.wire.fields import Count, Id, Name, ShortText, Text
from distren.wire.frames import Completed, Failed, Progress, Render, Started

MOST_FRAMES = 500
"""in one message"""
LentFrame = Annotated[tuple[Id, Id, Count], Field(strict=False)]
"""job id, frame id and issue; msgpack has no tuples, so a list is taken too"""
LentFrames = Annotated[list[LentFrame], Field(max_length=10_000)]


class Room(BaseModel):
    """A class of the borrower's workers: what they have, and how many of the lender's frames they take at a time."""

    model_config = ConfigDict(frozen=True, strict=True)
    queue: Name
    pool: Name
    renderers: dict[str, ShortText]
    frames: Count


class Capacity(Message, type="lend.capacity"):
    """Borrower → lender, when it changes: how many frames of yours I would hold, those that I hold included."""

    rooms: Annotated[list[Room], Field(max_length=1_000)]


class CapacityWanted(Message, type="lend.capacity_wanted"):
    """Lender → borrower, after a start: tell me your capacity."""


class Lend(Message, type="lend.frames"):
    """Lender → borrower: render these frames of a job, as `frames` say; `name` and `priority` are the job's."""

    job: Id
    name: Text
    pool: Name
    priority: Count
    frames: Annotated[list[Render], Field(max_length=MOST_FRAMES)]


class Recall(Message, type="lend.recall"):
    """Lender → borrower: these are not wanted any more; end what is under way."""

    frames: LentFrames


class LentJob(Message, type="lend.job"):
    """Lender → borrower: the job has another priority, or has ended: forget it."""

    job: Id
    priority: Count
    ended: bool = False


class LentEvents(Message, type="lend.events"):
    """Borrower → lender: what became of frames. Small frame tarballs are inside, larger ones are fetched."""

    started: list[Started] = []
    completed: list[Completed] = []
    failed: list[Failed] = []


class GivenBack(Message, type="lend.given_back"):
    """Borrower → lender: I do not render these, and why. No failure."""

    frames: LentFrames
    reason: ShortText


class Check(Message, type="lend.check"):
    """Lender → borrower, now and then: you should have these; answered by `lend.given_back` for those you have not."""

    frames: LentFrames


class LentProgress(Message, type="lend.progress"):
    """Borrower → lender, every second while something is rendered: how far these attempts are. May be lost."""

    frames: Annotated[list[Progress], Field(max_length=MOST_FRAMES)]
