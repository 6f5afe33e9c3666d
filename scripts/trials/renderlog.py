"""The render log: what the renderers themselves wrote, whoever lived to hear of it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Key = tuple[str, int]
"""a scene's token, and a frame"""


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """One attempt. `began` and `ended` are seconds since 1970; `ended` and `digest` are None where it never ended."""

    attempt: str
    worker: str
    token: str
    frame: int
    began: float
    ended: float | None = None
    digest: str | None = None

    @property
    def key(self) -> Key:
        return self.token, self.frame


def read(path: Path) -> list[Rendering]:
    """Every attempt, in the order in which they began."""
    begun: dict[str, dict[str, Any]] = {}
    for line in path.read_text("utf-8").splitlines():
        entry = json.loads(line)
        known = begun.setdefault(entry["attempt"], {})
        known[entry["event"]] = entry
    return sorted((_rendering(one) for one in begun.values()), key=lambda one: one.began)


def _rendering(events: Mapping[str, Any]) -> Rendering:
    begin, end = events["begin"], events.get("end", {})
    return Rendering(
        attempt=begin["attempt"],
        worker=begin["worker"],
        token=begin["token"],
        frame=begin["frame"],
        began=begin["time"],
        ended=end.get("time"),
        digest=end.get("digest"),
    )


def by_frame(renderings: Iterable[Rendering]) -> dict[Key, list[Rendering]]:
    found: defaultdict[Key, list[Rendering]] = defaultdict(list)
    for one in renderings:
        found[one.key].append(one)
    return dict(found)


class Counter:
    """How many attempts have begun so far: reads only what is new."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset, self._begun = path, 0, 0

    def begun(self) -> int:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        self._begun += whole.count(b'"event": "begin"')
        return self._begun
