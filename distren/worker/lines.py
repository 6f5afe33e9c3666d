"""A worker's two connections to the broker: one takes frames and letters, one sends what became of them.

A broker that is short of memory blocks connections that publish: frames and acknowledgements go on meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from distren.amqp import topology
from distren.amqp.link import Link
from distren.amqp.mailbox import Mailbox
from distren.errors import DistrenError


class FramesLink(Link):
    """A link that cancels its consumers all at once.

    Were each cancel to wait for the answer to the one before, a frame that is given back meanwhile would be delivered
    to the consumers that are still there, one after the other, and each time would count for the delivery limit.
    """

    def _cancel(self, tag: str) -> None:
        if self._consumers.pop(tag, None) is not None and (channel := self._usable()) is not None:
            channel.basic_cancel(tag)


class Lines:
    """The links of the worker `name`, which consumes `queue`, and its mailbox."""

    def __init__(
        self, url: str, name: str, queue: str, *, on_up: Callable[[], None], on_down: Callable[[], None]
    ) -> None:
        own = topology.worker_queue(name)
        self.queue, self.name = queue, name
        self.mailbox = Mailbox(own.name)
        self.frames = FramesLink(
            url,
            name=f"worker {name} (frames)",
            exchanges=topology.EXCHANGES,
            queues=(own, topology.frames_queue(queue)),
            on_up=on_up,
            on_down=on_down,
        )
        self.results = Link(url, name=f"worker {name} (results)", exchanges=topology.EXCHANGES)

    def open(self) -> None:
        """Connect both. Raises Conflict where a worker of this name is connected, and what Link.start raises."""
        self.frames.start()
        try:
            self.results.start()
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
