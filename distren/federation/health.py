"""How a peer is: heard of late or not, refused, how far its clock is off; no I/O, time is an argument."""

from __future__ import annotations

from dataclasses import dataclass

from distren.wire.peers import Hello

HELLO_EVERY = 15.0
DOWN_AFTER = 45.0
"""seconds; three missed hellos"""


@dataclass(kw_only=True)
class Health:
    """What is known of one peer. `now` is the wall clock in seconds, `steady` one that never jumps.

    `opened` is the steady time at which this server began to listen: a peer that has not been heard since then is not
    down before it could have been. `trouble` says what keeps its messages, as far as can be seen from here; `refused`
    why one side takes nothing. `reached`: its broker is reached from here; else it reaches ours.
    """

    reached: bool = True
    software: str | None = None
    seen: float | None = None
    opened: float | None = None
    clock: float | None = None
    trouble: str = ""
    refused: str = ""
    _heard: float | None = None
    _since: float | None = None
    _refused_at: float = 0.0
    _listened: float | None = None
    _last: Hello | None = None

    def hear(self, hello: Hello, now: float, steady: float) -> bool:
        """The peer said hello; True where it was not up before."""
        came_up = self.state(steady) != "up"
        if came_up:
            self._since = now
        self.software, self.seen, self._heard, self._last, self.refused = hello.software, now, steady, hello, ""
        if hello.echo is not None:
            # Network Time Protocol, RFC 5905 section 8: half the sum of the differences there and back.
            self.clock = ((hello.sent - hello.held - hello.echo) + (hello.sent - now)) / 2
        return came_up

    def refuse(self, reason: str, now: float, steady: float) -> bool:
        """One side takes nothing from the other; True where that is news."""
        is_news = self.refused != reason
        if is_news:
            self._since = now
        self.refused, self._refused_at = reason, steady
        return is_news

    def hello(self, software: str, now: float, steady: float) -> Hello:
        """What we say to it."""
        if self._last is None or self._heard is None:
            return Hello(software=software, sent=now)
        return Hello(software=software, sent=now, echo=self._last.sent, held=max(steady - self._heard, 0.0))

    def state(self, steady: float) -> str:
        """`up`, `down`, `refused` or `new`."""
        if self.refused and steady - self._refused_at <= DOWN_AFTER:
            return "refused"
        if self._heard is not None and steady - self._heard <= DOWN_AFTER:
            return "up"
        just_opened = self._heard is None and self.opened is not None and steady - self.opened <= DOWN_AFTER
        return "new" if self.seen is None or just_opened else "down"

    def is_overdue(self, steady: float) -> bool:
        """Whether nothing has come for as long as makes a peer down, and nobody has listened anew since."""
        last = max((at for at in (self.opened, self._heard, self._listened) if at is not None), default=steady)
        if steady - last <= DOWN_AFTER:
            return False
        self._listened = steady
        return True

    def since(self, steady: float) -> float | None:
        """When the state began; a peer is down since it was last heard."""
        return self.seen if self.state(steady) == "down" else self._since

    def why(self, steady: float) -> str:
        """One line on what is wrong; empty where nothing is."""
        state = self.state(steady)
        if state == "refused":
            return self.refused
        if state == "up":
            return self.trouble
        if self.trouble or not self.reached:
            return self.trouble or "nothing comes from it: is its server running, and does its broker reach this one?"
        return "its broker can be reached, but its server does not answer: is it running?"
