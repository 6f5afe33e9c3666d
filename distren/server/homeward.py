"""What has become of lent frames, told to their lenders in the lenders' numbers; the results travel along."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection

from distren.domain.states import AttemptState, FrameState
from distren.server.federation import Federation
from distren.server.state import State
from distren.storage import attempts as attempt_rows
from distren.storage import frames as frame_rows
from distren.storage import guests
from distren.storage.attempts import AttemptRecord
from distren.storage.guests import Guest, News
from distren.wire.fields import Blob
from distren.wire.frames import INLINE, Completed, Failed, Progress, Started
from distren.wire.lending import MOST_FRAMES, GivenBack, LentEvents, LentProgress

PROGRESS_EVERY = 1.0
"""seconds between two messages to a lender about how far its frames are"""


class Homeward:
    """Works in the server's thread, and where a connection is given in its transaction."""

    def __init__(self, state: State, federation: Federation) -> None:
        self._state, self._federation = state, federation
        self._permanent: set[str] = set()
        self._progress: dict[tuple[str, int, int], Progress] = {}
        self._next_progress = 0.0

    def hear(self, events: Iterable[object]) -> None:
        """What workers say in the turn that `follow` ends: which failures are for good stands nowhere else."""
        self._permanent = {one.token for one in events if isinstance(one, Failed) and one.permanent}

    def progressed(self, guest: Guest, event: Progress) -> None:
        """A worker says how far a lent frame is; its lender hears the latest of it within a second."""
        told = event.model_copy(update={"job": guest.of_job})
        self._progress[guest.peer, guest.of_job, event.frame] = told
        if self._state.steady() >= self._next_progress:
            self._next_progress = self._state.steady() + PROGRESS_EVERY
            self._tell_progress()

    def _tell_progress(self) -> None:
        for peer in {peer for peer, _, _ in self._progress}:
            several = [event for key, event in self._progress.items() if key[0] == peer]
            self._federation.tell_soon(peer, LentProgress(frames=several[:MOST_FRAMES]))
        self._progress.clear()

    def give_back(self, connection: Connection, peer: str, frames: Iterable[tuple[int, int, int]], reason: str) -> None:
        """We do not render these (job, frame, issue) of a peer."""
        self._federation.send(connection, peer, GivenBack(frames=list(frames), reason=reason[:2_000]))

    def follow(self, connection: Connection) -> None:
        """Tell the lenders of all frames of which they do not know the state."""
        started: defaultdict[str, list[Started]] = defaultdict(list)
        for one in guests.news(connection):
            attempt = self._attempt(connection, one)
            if one.state is FrameState.RENDERING:
                guests.told(connection, one)
                if attempt is not None:
                    started[one.guest.peer].append(Started(**_about(one, attempt)))
                continue
            guests.brought_back(connection, one.guest.job, one.frame)
            if one.state is FrameState.CANCELLED:
                where = one.guest.of_job, one.frame, one.issue
                self.give_back(connection, one.guest.peer, [where], "called off there")
            else:
                self._federation.send(connection, one.guest.peer, self._outcome(connection, one, attempt))
        for peer, several in started.items():
            self._federation.send(connection, peer, LentEvents(started=several))

    def _outcome(self, connection: Connection, one: News, attempt: AttemptRecord | None) -> LentEvents:
        """The last word on a frame that is done or has failed."""
        if one.state is FrameState.DONE and attempt is not None:
            return LentEvents(completed=[self._completed(connection, one, attempt)])
        return LentEvents(
            failed=[
                Failed(
                    reason=(one.reason or "it failed there")[:2_000],
                    seconds=(attempt.seconds if attempt else None) or 0.0,
                    log=(attempt.log if attempt else None) or b"",
                    permanent=one.token in self._permanent,
                    **_about(one, attempt or self._nobodys_attempt(one)),
                )
            ]
        )

    def _completed(self, connection: Connection, one: News, attempt: AttemptRecord) -> Completed:
        """With a small frame tarball inside; a larger one will be fetched."""
        stored = frame_rows.load(connection, [(one.guest.job, one.frame)])[one.guest.job, one.frame]
        assert stored.frame.result is not None
        blob = Blob.of(stored.frame.result)
        small = blob.size <= INLINE and self._state.store.has(blob.digest)
        return Completed(
            result=blob,
            tarball=self._state.store.path(blob.digest).read_bytes() if small else None,
            seconds=attempt.seconds or 0.0,
            log=attempt.log or b"",
            **_about(one, attempt),
        )

    @staticmethod
    def _attempt(connection: Connection, one: News) -> AttemptRecord | None:
        if one.token is None:
            return None
        found = attempt_rows.of_frame(connection, one.guest.job, one.frame)
        return next((attempt for attempt in found if attempt.token == one.token), None)

    def _nobodys_attempt(self, one: News) -> AttemptRecord:
        """What stands in for the attempt of a frame that failed without one."""
        return AttemptRecord(
            token=secrets.token_hex(16),
            job=one.guest.job,
            frame=one.frame,
            number=1,
            issue=one.issue,
            worker="nobody",
            state=AttemptState.FAILED,
            started=self._state.now(),
        )


def _about(one: News, attempt: AttemptRecord) -> dict[str, Any]:
    """An attempt in the lender's numbers."""
    return {
        "worker": attempt.worker,
        "job": one.guest.of_job,
        "frame": one.frame,
        "issue": one.issue,
        "token": attempt.token,
        "started": attempt.started,
    }
