"""What stands in for peers at a server that has none: nothing is lent, borrowed or handed over."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import Connection

from distren.domain.needs import Needs
from distren.errors import NotFound
from distren.server.changes import Changed
from distren.server.dispatch import Owing
from distren.server.lifecycle import Lifecycle
from distren.storage.jobs import Job
from distren.wire.codec import Message
from distren.wire.frames import Progress, Render
from distren.wire.jobs import Change
from distren.wire.moves import Move


class Alone:
    """See Lending in server/lending.py."""

    guests: Collection[int] = ()

    def is_willing(self, connection: Connection, queue: str, job: Job, renderer: str) -> bool:
        return False

    def describe(self, connection: Connection, job: int, ids: Iterable[int]) -> Mapping[int, Render]:
        return {}

    def hear(self, events: Iterable[object]) -> None:
        pass

    def progressed(self, event: Progress) -> None:
        pass

    def withdraw(self, connection: Connection, lifecycle: Lifecycle, *, everything: bool, tick: bool) -> None:
        pass

    def lend(self, connection: Connection, owing: list[Owing]) -> list[Owing]:
        return owing

    def follow(self, connection: Connection, *, tick: bool) -> list[Changed]:
        return []

    def resolve(self, connection: Connection, rules: Iterable[Needs]) -> tuple[Needs, ...]:
        return tuple(rules)

    def trouble(self, peer: str) -> str:
        return ""

    def committed(self) -> None:
        pass


class AtHome:
    """See Moves in server/moves.py."""

    def forward(self, job: int) -> Message | None:
        return None

    def move(self, message: Move) -> Message:
        raise NotFound(f"there is no server '{message.server}' here: this one has no peers")

    def check_change(self, connection: Connection, message: Change) -> None:
        pass

    def why(self, job: int) -> str:
        return ""
