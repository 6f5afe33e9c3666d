"""A worker's two connections to the broker: one takes frames and letters, one sends what became of them.

A broker that is short of memory blocks connections that publish: frames and acknowledgements go on meanwhile.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from distren.amqp import topology
from distren.amqp.link import Link
from distren.amqp.mailbox import Mailbox
from distren.errors import Conflict, DistrenError
from distren.worker import identity
from distren.worker.identity import Identity

_MOST_NAMES = 100
_NOTICED_WITHIN = 5.0
"""seconds that a loaded broker may take to notice that the last worker of a name was killed"""
_LOOK_EVERY = 0.2


def connect(
    url: str, queue: str, *, locks: Path, name: str | None, wanted: Callable[[], bool] = lambda: True
) -> tuple[Identity, Lines]:
    """Claim `name` on this host (see identity.claim) and on the broker, and connect.

    Waits for a broker that does not answer as long as that is `wanted`; then it raises BrokerUnavailable. Where `name`
    is None and the broker knows a worker of the name that is free here, it is the next free one. Raises Conflict where
    `name` is taken, and still is a few seconds later, and what Link.start raises.
    """
    above, until = 0, time.monotonic() + _NOTICED_WITHIN
    while True:
        claimed = identity.claim(locks, name, above=above)
        lines = Lines(url, claimed.name, queue)
        try:
            lines.open(wanted)
            return claimed, lines
        except Conflict as error:
            claimed.release()
            if name is not None and time.monotonic() < until and wanted():
                time.sleep(_LOOK_EVERY)
                continue
            above = claimed.number
            if name is not None or above >= _MOST_NAMES:
                raise Conflict(
                    f"a worker called '{claimed.name}' is connected to this broker: choose another --name"
                ) from error
        except BaseException:
            claimed.release()
            raise


class Lines:
    """The links of the worker `name`, which consumes `queue`, and its mailbox.

    `on_up` and `on_down` are called in the thread of the link that takes frames, at each opening and each loss.
    """

    def __init__(self, url: str, name: str, queue: str) -> None:
        own = topology.worker_queue(name)
        self.queue, self.name = queue, name
        self.on_up: Callable[[], None] = _nothing
        self.on_down: Callable[[], None] = _nothing
        self.mailbox = Mailbox(own.name)
        self.frames = Link(
            url,
            name=f"worker {name} (frames)",
            exchanges=topology.EXCHANGES,
            queues=(own, topology.frames_queue(queue)),
            on_up=lambda: self.on_up(),
            on_down=lambda: self.on_down(),
            patient=True,
        )
        self.results = Link(url, name=f"worker {name} (results)", exchanges=topology.EXCHANGES, patient=True)

    def open(self, wanted: Callable[[], bool] = lambda: True) -> None:
        """Connect both. Raises Conflict where a worker of this name is connected, and what Link.start raises."""
        self.frames.start(wanted=wanted)
        try:
            self.results.start(wanted=wanted)
        except BaseException:
            self.frames.close()
            raise

    def check(self) -> None:
        """Raise what ended a link for good."""
        for link in (self.frames, self.results):
            if link.failure is not None:
                raise link.failure

    def close(self) -> None:
        """Send what is under way, if the broker is there, and end."""
        for link in (self.results, self.frames):
            with contextlib.suppress(DistrenError):
                link.flush(1.0 if link.is_up else 0.0)
                link.close(timeout=1.0)


def _nothing() -> None:
    pass
