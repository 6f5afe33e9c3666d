"""Tables: what a person sees of jobs, frames and workers."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console, RenderableType

from distren.cli import records, tables
from distren.wire.fields import Blob
from distren.wire.jobs import FrameInfo, JobInfo, WorkerInfo

NOW = 1_000_000.0


def job(**changes: Any) -> JobInfo:
    fields: dict[str, Any] = {
        "job": 17,
        "name": "spheres",
        "renderer": "povray",
        "pool": "default",
        "priority": 50,
        "state": "active",
        "counts": {"done": 12, "rendering": 3, "ready": 9},
        "created": NOW - 100,
        "ended": None,
        "width": 640,
        "height": 360,
        "rate": 2.0,
        "error": "",
    }
    return JobInfo(**fields | changes)


def shown(table: RenderableType, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_jobs_show_progress_rate_and_time_left() -> None:
    line = shown(tables.jobs([job()], NOW)).splitlines()[-1]
    for part in ("17", "spheres", "active", "12/24", "2.0 frames/s", "6 s", "1 min 40 s ago"):
        assert part in line


def test_jobs_fit_a_narrow_terminal_where_nothing_is_unusual() -> None:
    text = shown(tables.jobs([job(state="done", counts={"done": 24}, rate=0.0, ended=NOW)], NOW), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "pool" not in text
    assert "priority" not in text


def test_a_pool_and_a_priority_are_shown_where_somebody_chose_them() -> None:
    text = shown(tables.jobs([job(), job(pool="night", priority=90)], NOW))
    assert "night" in text
    assert "90" in text


def test_markup_in_a_name_is_shown_as_it_is() -> None:
    assert "[red]x[/]" in shown(tables.jobs([job(name="[red]x[/]")], NOW))
    assert "[red]x[/]" in shown(tables.job(job(name="[red]x[/]"), "distren://alpha/17", NOW))


def test_a_bar_never_leaves_its_width() -> None:
    for counts in (
        {},
        {"done": 1},
        {"done": 1, "failed": 1, "rendering": 1},
        {"ready": 7},
        {"done": 999_999, "ready": 1},
    ):
        assert len(tables.bar(counts, 20).plain) == 20


def test_a_frame_that_failed_says_why() -> None:
    frame = FrameInfo(
        frame=3, state="failed", attempts=3, worker="w", started=NOW - 4, ended=NOW, reason="Parse Error", percent=0.0
    )
    assert "Parse Error" in shown(tables.frames([frame], NOW))


def test_workers_show_what_they_render() -> None:
    worker = WorkerInfo(
        worker="render-1",
        host="alpha",
        pool="default",
        queue="frames.default.povray-3.7.0",
        renderers={"povray": "3.7.0"},
        slots=3,
        state="working",
        held=[(17, 3), (17, 4), (17, 5), (17, 6)],
        cores=2,
        memory=8 * 2**30,
        seen=NOW - 2,
    )
    text = shown(tables.workers([worker], NOW), width=200)
    assert "4/3" in text
    assert "17/frame/3, 17/frame/4, 17/frame/5, 1 more" in text


def test_time_left_is_unknown_without_a_rate() -> None:
    assert records.left(job(rate=0.0)) is None
    assert records.left(job(state="paused")) is None
    assert records.left(job(counts={"done": 2, "failed": 1, "ready": 4})) == 2.0


def test_a_frame_record_names_its_result() -> None:
    blob = Blob(digest="0" * 64, size=12)
    frame = FrameInfo(frame=3, state="done", attempts=1, worker="w", started=1.0, ended=2.0, percent=100.0, result=blob)
    record = records.frame(frame, "distren://alpha/17")
    assert record["url"] == "distren://alpha/17/frame/3"
    assert record["result"] == {"sha256": "0" * 64, "size": 12}
