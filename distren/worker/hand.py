"""What a worker holds: every frame from its delivery until the broker has confirmed what became of it.

A frame in hand waits for a slot, is rendered, and is sent; only then is its delivery acknowledged. The broker
delivers a frame again after a reconnection, though we still render it: such a delivery takes the place of the one
that was lost with the connection, and a frame that we have just finished is known again for a while.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, StrEnum

from distren.amqp.link import Delivery
from distren.wire.frames import Render
from distren.worker.process import Stop

REMEMBERED = 1_000
"""finished frames that are known again when the broker delivers them once more"""
Key = tuple[int, int, int]
"""job, frame and issue"""


class Stage(StrEnum):
    WAITING = "waiting"  #: no slot has taken it yet
    RENDERING = "rendering"  #: occupies a slot
    SENDING = "sending"  #: rendered; its result is checked, and on its way to the broker


class Ending(StrEnum):
    """Why an attempt is ended before its time."""

    CALLED_OFF = "called off"  #: the server wants it no more
    GIVEN_BACK = "given back"  #: this worker goes away


class Receipt(Enum):
    """What became of a delivery."""

    NEW = "new"  #: a frame to render
    AGAIN = "again"  #: takes the place of a delivery that was lost; we hold the frame already
    SUPERFLUOUS = "superfluous"  #: to be acknowledged at once


@dataclass(eq=False, kw_only=True)
class Holding:
    """A frame in hand. `delivery` is None once it is acknowledged or lost; `early`: it was acknowledged before the end.

    `large`: the result is uploaded from the attempt's folder, which has to stay until that is done.
    `started` is seconds since 1970 (UTC), the other times are of the monotonic clock.
    """

    render: Render
    delivery: Delivery | None
    arrived: float
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    stage: Stage = Stage.WAITING
    started: float = 0.0
    began: float = 0.0
    announced: bool = False
    early: bool = False
    large: bool = False
    ending: Ending | None = None
    stop: Stop = field(default_factory=Stop)

    @property
    def key(self) -> Key:
        return self.render.job, self.render.frame, self.render.issue

    def end(self, ending: Ending) -> None:
        """Have the attempt ended; the first reason stays."""
        self.ending = self.ending or ending
        self.stop.set()


class Hand:
    """The frames in hand; any thread may call anything. At most `slots` of them are rendered at once."""

    def __init__(self, slots: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._slots, self._clock = slots, clock
        lock = threading.RLock()
        self._changed, self._emptied = threading.Condition(lock), threading.Condition(lock)
        self._held: dict[Key, Holding] = {}
        self._waiting: deque[Holding] = deque()
        self._rendering = 0
        self._finished: OrderedDict[Key, None] = OrderedDict()
        self._closed = False

    # -- deliveries --------------------------------------------------------------------------------------------------

    def receive(self, render: Render, delivery: Delivery) -> Receipt:
        """Take a delivery in; the frame waits for a slot where it is new."""
        key = (render.job, render.frame, render.issue)
        with self._changed:
            if key in self._finished:
                return Receipt.SUPERFLUOUS
            held = self._held.get(key)
            if held is None:
                self._held[key] = holding = Holding(render=render, delivery=delivery, arrived=self._clock())
                self._waiting.append(holding)
                self._changed.notify()
                return Receipt.NEW
            if held.early or held.delivery is not None:
                return Receipt.SUPERFLUOUS
            held.delivery, held.announced = delivery, False  # another worker may have told that it has the frame
            return Receipt.AGAIN

    def release(self, holding: Holding) -> Delivery | None:
        """The delivery of `holding`, to be acknowledged or given back by whoever calls, once."""
        with self._changed:
            delivery, holding.delivery = holding.delivery, None
            return delivery

    def release_early(self, holding: Holding) -> Delivery | None:
        """The same for a frame that goes on being rendered; from now on it is not delivered to us again."""
        with self._changed:
            holding.early = True
            return self.release(holding)

    def forget_deliveries(self) -> None:
        """The connection is lost: the broker hands out what we hold again, so what has not begun is let go."""
        with self._changed:
            for holding in self._held.values():
                holding.delivery = None
            for holding in list(self._waiting):
                self._remove(holding)

    # -- slots -------------------------------------------------------------------------------------------------------

    def resize(self, slots: int) -> None:
        """From now on at most `slots` frames are rendered at once; those under way are not touched."""
        with self._changed:
            self._slots = slots
            self._changed.notify_all()

    def next(self) -> Holding | None:
        """Wait for a frame and a free slot, and take both; None when there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (self._waiting and self._rendering < self._slots))
            if self._closed:
                return None
            holding = self._waiting.popleft()
            holding.stage, holding.began, holding.started = Stage.RENDERING, self._clock(), time.time()
            self._rendering += 1
            return holding

    def sending(self, holding: Holding) -> bool:
        """The slot is free: what is left to do with `holding` is to check and send its result; False where it was."""
        with self._changed:
            return self._leave_slot(holding)

    # -- ends --------------------------------------------------------------------------------------------------------

    def finish(self, holding: Holding) -> Delivery | None:
        """What became of the frame is confirmed, or nobody wants it: let it go, and return what to acknowledge."""
        with self._changed:
            self._remove(holding)
            self._finished[holding.key] = None
            while len(self._finished) > REMEMBERED:
                self._finished.popitem(last=False)
            delivery, holding.delivery = holding.delivery, None
            return delivery

    def drop(self, holding: Holding) -> Delivery | None:
        """Let the frame go unfinished, and return what to give back; it may come again."""
        with self._changed:
            self._remove(holding)
            delivery, holding.delivery = holding.delivery, None
            return delivery

    def take_waiting(self, keep: int = 0, *, before: float | None = None) -> list[Delivery]:
        """Let the frames go that no slot has begun, but for the first `keep`; `before`: only those older than that.

        Returns the deliveries to give back.
        """
        with self._changed:
            late = [one for one in list(self._waiting)[keep:] if before is None or one.arrived < before]
            return [delivery for one in late if (delivery := self.drop(one)) is not None]

    def call_off(self, job: int, frames: Iterable[int] | None) -> list[Delivery]:
        """End the attempts at these frames of `job` (None: all of them); those that had not begun are let go.

        Returns the deliveries of the latter, to be acknowledged.
        """
        wanted = None if frames is None else set(frames)
        with self._changed:
            idle = []
            for one in list(self._held.values()):
                if one.render.job == job and (wanted is None or one.render.frame in wanted):
                    one.end(Ending.CALLED_OFF)
                    idle += [one] if one.stage is Stage.WAITING else []
            return [delivery for one in idle if (delivery := self.finish(one)) is not None]

    def close(self) -> None:
        """No slot takes another frame."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # -- what there is -----------------------------------------------------------------------------------------------

    def holdings(self) -> list[Holding]:
        """Everything in hand, oldest first."""
        with self._changed:
            return list(self._held.values())

    @property
    def is_waiting(self) -> bool:
        """Whether a frame waits for a slot."""
        return bool(self._waiting)

    @property
    def is_empty(self) -> bool:
        return not self._held

    def wait_empty(self, timeout: float) -> bool:
        """Wait until nothing is in hand; False after `timeout` seconds."""
        with self._changed:
            return self._emptied.wait_for(lambda: not self._held, timeout)

    def _remove(self, holding: Holding) -> None:
        if self._held.get(holding.key) is holding:
            del self._held[holding.key]
        if holding.stage is Stage.WAITING and holding in self._waiting:
            self._waiting.remove(holding)
        self._leave_slot(holding)
        if not self._held:
            self._emptied.notify_all()

    def _leave_slot(self, holding: Holding) -> bool:
        if holding.stage is not Stage.RENDERING:
            return False
        holding.stage = Stage.SENDING
        self._rendering -= 1
        self._changed.notify()
        return True
