"""Answers what clients and peers ask: at once, or over several turns where that would keep others waiting.

A seed is examined by another process, and a long change is made in parts, one in each turn. Changes of one job follow
one another.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from distren.errors import DatabaseDamaged, DistrenError, OutputError
from distren.server import requests
from distren.server.examiner import Examiner
from distren.server.requests import Steps
from distren.server.seeds import Seed
from distren.server.state import State
from distren.storage.identity import Deposed
from distren.wire.codec import Message
from distren.wire.jobs import Change, Problem, Submit

log = logging.getLogger(__name__)

T = TypeVar("T")
Reply = Callable[[Message], None]
"""takes the answer, in the server's thread"""


@dataclass(frozen=True, kw_only=True)
class _Asked:
    message: Message
    reply: Reply

    @property
    def job(self) -> int | None:
        """The job that is to be changed; None where none is."""
        return self.message.job if isinstance(self.message, Change) else None


class Answers:
    """`ask` and `turn` belong to the server's thread; `wake` is called by others when there is reason for a turn."""

    def __init__(self, state: State, wake: Callable[[], None], examiner: Examiner | None) -> None:
        self._state, self._wake, self._examiner = state, wake, examiner
        self._examined: SimpleQueue[tuple[_Asked, Seed | DistrenError]] = SimpleQueue()
        self._long: deque[tuple[_Asked, Steps]] = deque()
        self._after: dict[int, deque[_Asked]] = {}

    @property
    def wanted(self) -> bool:
        """Whether a change waits for its next part."""
        return bool(self._long)

    def ask(self, message: Message, reply: Reply) -> None:
        """Have a request answered, now or in a later turn; whatever goes wrong is the answer.

        Raises what ends this process: Deposed and DatabaseDamaged.
        """
        asked = _Asked(message=message, reply=reply)
        if isinstance(message, Submit) and self._examiner is not None:
            self._examine(self._examiner, asked, message)
        else:
            self._begin(asked)

    def turn(self) -> None:
        """Go on with what is under way, for a part; raises what `ask` does."""
        while not self._examined.empty():
            self._begin(*self._examined.get())
        if self._long:
            self._go_on(*self._long.popleft())

    def _examine(self, examiner: Examiner, asked: _Asked, message: Submit) -> None:
        def examined(found: Seed | DistrenError) -> None:
            self._examined.put((asked, found))
            self._wake()

        examiner.ask(message.manifest.value(), examined)

    def _begin(self, asked: _Asked, seed: Seed | DistrenError | None = None) -> None:
        if asked.job in self._after:
            self._after[asked.job].append(asked)
            return
        if isinstance(seed, DistrenError):
            found: Message | Steps = problem(seed)
        else:
            examined = seed
            found = self._try(asked, lambda: requests.answer(self._state, asked.message, examined))
        if isinstance(found, Message):
            asked.reply(found)
        else:
            self._go_on(asked, found)

    def _go_on(self, asked: _Asked, steps: Steps) -> None:
        """Make the next part of a change; with the last one it is answered."""

        def part() -> Message | None:
            try:
                return next(steps)
            except StopIteration as end:
                reply: Message = end.value
                return reply

        reply = self._try(asked, part)
        job = asked.job
        if reply is None:
            self._long.append((asked, steps))
            if job is not None:
                self._after.setdefault(job, deque())
            return
        asked.reply(reply)
        if job is not None:
            for waiting in self._after.pop(job, ()):
                self._begin(waiting)

    def _try(self, asked: _Asked, act: Callable[[], T]) -> T | Problem:
        try:
            return act()
        except (Deposed, DatabaseDamaged):
            raise
        except DistrenError as error:
            return problem(error)
        except DBAPIError as error:
            return problem(OutputError(f"the server's database refuses: {error.orig}"))
        except Exception:
            log.exception("request failed", extra={"type": asked.message.type})
            return problem(DistrenError(f"the server failed at {asked.message.type}: its log says why"))


def problem(error: DistrenError) -> Problem:
    """An error as a reply."""
    return Problem(error=type(error).__name__, text=str(error)[:2_000])
