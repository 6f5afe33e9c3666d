"""When a frame is given up because it kills those who render it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

STOPPED = "its worker was stopped"
"""why an attempt is lost that says nothing against its frame: somebody ended the worker in good order"""


@dataclass(frozen=True, kw_only=True)
class Lost:
    """An attempt whose end nobody told: its worker, and whether the process that made it is gone."""

    worker: str
    gone: bool
    reason: str | None


def verdict(lost: Iterable[Lost], kills: int) -> str | None:
    """Why the frame is to fail now, in one line; None where it may be tried again."""
    killed = [one.worker for one in lost if one.gone and one.reason != STOPPED]
    if len(killed) < kills:
        return None
    names = ", ".join(dict.fromkeys(killed))
    return f"it ended every worker that rendered it, {len(killed)} times: {names}"
