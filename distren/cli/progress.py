"""Shows how a job goes: a live display in a terminal, plain lines elsewhere, one JSON object per line with --json."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from distren.cli import human, records, tables
from distren.cli.context import Cli
from distren.client.job import Job
from distren.wire.jobs import FrameInfo, JobInfo

_REFRESH = 8
"""pictures per second of the live display"""
_LINES_EVERY = 1.0
"""seconds between plain lines at least"""
_SHOWN = 8
"""frames that the live display names at most"""


def follow(cli: Cli, job: Job) -> JobInfo:
    """Show `job` until it has ended; the last that was heard of it."""
    if cli.json:
        return _as_json(job)
    return _live(cli, job) if cli.console.is_terminal else _plain(cli, job)


def _as_json(job: Job) -> JobInfo:
    info: JobInfo | None = None
    for info in job.watch():
        click.echo(json.dumps(records.job(info, job.server), ensure_ascii=False))
    assert info is not None
    return info


def _plain(cli: Cli, job: Job) -> JobInfo:
    info, said, last = None, "", 0.0
    for info in job.watch():
        line = plain_line(info)
        if line != said and (info.ended is not None or time.monotonic() - last >= _LINES_EVERY):
            cli.say(line)
            said, last = line, time.monotonic()
    assert info is not None
    return info


def plain_line(info: JobInfo) -> str:
    """`job 17: active, 12 of 24 frames done, 1.3 frames/s, 9 s left`"""
    parts = [f"job {info.job}: {info.state}", f"{records.done(info):,} of {records.total(info):,} frames done"]
    if failed := info.counts.get("failed", 0):
        parts.append(f"{failed:,} failed")
    if info.ended is not None:
        parts.append(f"after {human.duration(info.ended - info.created)}")
    elif info.rate > 0:
        parts += [human.rate(info.rate), human.remaining(records.left(info))]
    if info.error and info.ended is None:
        parts.append(human.harmless(info.error))
    return ", ".join(part for part in parts if part)


class Picture:
    """What the live display shows: the job, and the frames that are being rendered."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._info: JobInfo | None = None
        self._rendering: dict[int, FrameInfo] = {}

    def show(self, info: JobInfo) -> None:
        self._info = info

    def take(self, frames: list[FrameInfo]) -> None:
        for frame in frames:
            self._rendering.pop(frame.frame, None)
            if frame.state == "rendering":
                self._rendering[frame.frame] = frame

    def __rich__(self) -> RenderableType:
        if self._info is None:
            return Text("asking the server ...")
        return Group(*self._parts(self._info))

    def _parts(self, info: JobInfo) -> Iterator[RenderableType]:
        total, done = records.total(info), records.done(info)
        if info.ended is not None:
            self._rendering.clear()
        partly = sum(frame.percent for frame in self._rendering.values()) / 100
        grid = Table.grid(padding=(0, 2))
        grid.add_row(
            Text(f"job {info.job}", style="bold"),
            tables.state(info.state),
            ProgressBar(total=max(total, 1), completed=min(done + partly, total), width=40, complete_style="green"),
            f"{done:,}/{total:,}",
            self._pace(info),
        )
        yield grid
        if failed := info.counts.get("failed", 0):
            yield Text(f"{human.plural(failed, 'frame')} failed: see 'distren frames {info.job}'", style="red")
        if info.error:
            yield Text(human.harmless(info.error), style="yellow")
        if self._rendering:
            yield self._frames()

    def _pace(self, info: JobInfo) -> str:
        if info.ended is not None:
            return f"after {human.duration(info.ended - info.created)}"
        if info.state == "active" and info.rate > 0:
            return f"{human.rate(info.rate)}   {human.remaining(records.left(info))}"
        return ""

    def _frames(self) -> RenderableType:
        grid, now = Table.grid(padding=(0, 2)), time.time()
        for frame in sorted(self._rendering.values(), key=lambda frame: frame.frame)[:_SHOWN]:
            grid.add_row(
                Text(f"  frame {frame.frame}", style="bright_black"),
                ProgressBar(total=100, completed=frame.percent, width=20, complete_style="cyan"),
                f"{frame.percent:3.0f} %",
                Text(frame.worker or "", style="bright_black"),
                Text(human.duration(max(now - (frame.started or now), 0)), style="bright_black"),
            )
        if len(self._rendering) > _SHOWN:
            grid.add_row(Text(f"  and {len(self._rendering) - _SHOWN} more", style="bright_black"))
        return grid


def _live(cli: Cli, job: Job) -> JobInfo:
    picture, info = Picture(job), None
    with Live(picture, console=cli.console, refresh_per_second=_REFRESH):
        for info in job.watch(on_frames=picture.take):
            picture.show(info)
    assert info is not None
    return info


@contextmanager
def counted(cli: Cli, what: str, total: int) -> Iterator[Counter]:
    """A bar that counts to `total` while something is brought or made; nothing where stdout is no terminal."""
    counter = Counter(what, total)
    if cli.json or not cli.console.is_terminal:
        yield counter
        return
    with Live(counter, console=cli.console, refresh_per_second=_REFRESH, transient=True):
        yield counter


class Counter:
    """How many of `total` there are; `add` and `reach` may be called from any thread."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._count = what, total, 0

    def add(self, _: object = None) -> None:
        self._count += 1

    def reach(self, count: int, total: int | None = None) -> None:
        self._count, self._total = count, self._total if total is None else total

    def __rich__(self) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=max(self._total, 1), completed=self._count, width=40, complete_style="cyan")
        grid.add_row(self._what, bar, f"{self._count:,}/{self._total:,}")
        return grid
