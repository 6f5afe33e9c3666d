"""Groups of frames in the database: what frames have that differs from the rest of their job."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from distren.domain.frameset import FrameSet
from distren.domain.groups import Group, Output
from distren.storage.tables import groups

_AT_ONCE = 5_000  # well below the number of parameters that a statement may have
_NO_FRAMES = FrameSet(())


def add(connection: Connection, job: int, several: Sequence[Group]) -> None:
    """Write the groups of a new job, numbered in their order; which frames they have is in the frames' rows."""
    rows = [
        {
            "job": job,
            "number": number,
            "renderer": group.renderer,
            "label": group.label,
            "settings": dict(group.settings),
            "content": list(group.content),
            "outputs": outputs_written(group.outputs),
            "offset": group.offset,
            "intermediate": group.intermediate,
        }
        for number, group in enumerate(several)
    ]
    if rows:
        connection.execute(insert(groups), rows)


def load(connection: Connection, job: int, numbers: Collection[int]) -> dict[int, Group]:
    """The groups of a job with these numbers, without their frames."""
    found: dict[int, Group] = {}
    wanted = sorted(set(numbers))
    for start in range(0, len(wanted), _AT_ONCE):
        query = select(groups).where(groups.c.job == job, groups.c.number.in_(wanted[start : start + _AT_ONCE]))
        found.update((row.number, _group(row)) for row in connection.execute(query))
    return found


def outputs_written(outputs: Iterable[Output]) -> list[dict[str, Any]]:
    """Outputs as JSON holds them."""
    return [asdict(output) for output in outputs]


def outputs_read(written: Iterable[dict[str, Any]]) -> tuple[Output, ...]:
    return tuple(Output(**values) for values in written)


def _group(row: Row[Any]) -> Group:
    return Group(
        frames=_NO_FRAMES,
        renderer=row.renderer,
        label=row.label,
        settings=row.settings,
        content=tuple(row.content),
        outputs=outputs_read(row.outputs),
        offset=row.offset,
        intermediate=row.intermediate,
    )
