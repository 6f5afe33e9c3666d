"""Named points at which a process kills itself when it is told to, so that tests can visit each of them.

`DISTREN_FAILPOINT=server.commit.before` ends a process, as `kill -9` would, when it first reaches that point;
`server.commit.before:3` the third time. `@FILE` has the process look into FILE for that word each time, so that a
process that runs already can be told. Without the variable a point costs one call of an empty function.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

VARIABLE = "DISTREN_FAILPOINT"

SERVER, WORKER, CLIENT = "server", "worker", "client"
_EVERYBODY = (SERVER, WORKER, CLIENT)

POINTS: dict[str, tuple[tuple[str, ...], str]] = {
    "server.result.stored": ((SERVER,), "the result's bytes are in the blob store, the database knows nothing of it"),
    "server.commit.before": ((SERVER,), "a turn's change is made, and not committed"),
    "server.commit.after": ((SERVER,), "a turn's change is committed, and nothing of it published or acknowledged"),
    "server.publish.before": ((SERVER,), "before a frame that a committed change owes is published"),
    "server.publish.after": ((SERVER,), "such a frame is handed to the link that publishes it"),
    "server.confirm.before": ((SERVER,), "the broker has confirmed a frame, and the server has not noted it"),
    "server.confirm.after": ((SERVER,), "that is noted, and the frame still stands in the outbox"),
    "server.acknowledge.before": ((SERVER,), "events are committed, and not acknowledged"),
    "server.acknowledge.after": ((SERVER,), "events are acknowledged"),
    "server.request.commit.before": ((SERVER,), "a job is written, and not committed"),
    "server.request.commit.after": ((SERVER,), "a job is committed, and the client has no answer"),
    "server.reply.after": ((SERVER,), "the answer is handed to the link, and the request not acknowledged"),
    "server.blob.offer": ((SERVER,), "a blob is offered, and nothing answered"),
    "server.move.begun": ((SERVER,), "a job that is to go to a peer stands still, and nothing of it is there"),
    "server.move.sent": ((SERVER,), "all of it is at the peer; that the peer is to take it is written, not committed"),
    "server.move.take.before": ((SERVER,), "a job of a peer is taken over, and that is not committed"),
    "server.move.take.after": ((SERVER,), "that is committed, and the peer has not been told"),
    "server.move.end.before": ((SERVER,), "the peer has the job; that it is gone is written, not committed"),
    "server.move.end.after": ((SERVER,), "that is committed, and the peer has no receipt"),
    "worker.frame.taken": ((WORKER,), "a frame has been delivered, and is not in hand yet"),
    "worker.render.before": ((WORKER,), "a slot has taken a frame"),
    "worker.render.after": ((WORKER,), "a frame is rendered, and nothing is told of it"),
    "worker.publish.before": ((WORKER,), "before a result is published"),
    "worker.publish.after": ((WORKER,), "a result is handed to the link that publishes it"),
    "worker.confirm.before": ((WORKER,), "the broker has confirmed a result, and the worker has not noted it"),
    "worker.acknowledge.before": ((WORKER,), "a result is confirmed, and its frame not acknowledged"),
    "worker.acknowledge.after": ((WORKER,), "the acknowledgement is handed to the link"),
    "client.offer.before": ((CLIENT,), "a seed is packed, and nothing sent"),
    "client.submit.before": ((CLIENT,), "all files are at the server, and the job not submitted"),
    "client.submit.after": ((CLIENT,), "the server has taken the job, and the client has not told"),
    "blob.chunk.send.before": (_EVERYBODY, "a piece of a blob is read, and not sent"),
    "blob.chunk.send.after": (_EVERYBODY, "a piece of a blob is handed to the link"),
    "blob.chunk.write.before": (_EVERYBODY, "a piece of a blob has arrived, and is not written"),
    "blob.chunk.write.after": (_EVERYBODY, "a piece of a blob is written"),
    "blob.store.before": (_EVERYBODY, "a blob is whole, and does not have its name yet"),
    "blob.store.after": (_EVERYBODY, "a blob is stored under its name"),
}
"""Each point: which programs reach it, and what has happened there and what has not."""

Act = Callable[[str], None]


def _pass(name: str) -> None:
    """Nobody has told this process to die."""


class _Armed:
    """Dies at one of the points."""

    def __init__(self, wish: str) -> None:
        self._wish, self._visits = wish, Counter[str]()

    def __call__(self, name: str) -> None:
        self._visits[name] += 1
        wanted, _, nth = self._wanted().partition(":")
        if wanted == name and self._visits[name] >= int(nth or 1):
            os.kill(os.getpid(), signal.SIGKILL)

    def _wanted(self) -> str:
        if not self._wish.startswith("@"):
            return self._wish
        try:
            return Path(self._wish[1:]).read_text().strip()
        except OSError:
            return ""


reach: Act = _Armed(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else _pass
"""Called at each point with its name; always as `failpoints.reach`, so that a test can put its own in this place."""
