"""Brings a job's results to where a command wants them: a folder, a bundle, a video, or several of these."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distren.cli import human
from distren.cli.context import Cli
from distren.cli.progress import counted
from distren.client.fetch import Fetched, check_writable, is_bundle
from distren.client.job import FrameNumbers, Job
from distren.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Where the results go; `output` is a folder or a tarball's name, `fps` the video's pictures per second."""

    output: Path | None
    video: Path | None
    fps: float

    def check(self) -> None:
        """Raise OutputError or InputError while nothing has been asked of the farm yet."""
        if self.output is not None:
            check_writable(self.output)
        if self.video is not None:
            if self.video.suffix.lower() != ".mp4":
                raise InputError(f"{self.video} is no name for a video: give one that ends in .mp4")
            check_writable(self.video.parent)
            if self.video.is_dir():
                raise InputError(f"{self.video} is a folder: give the video another name")

    def __bool__(self) -> bool:
        return self.output is not None or self.video is not None


def deliver(
    cli: Cli, job: Job, wish: Wish, *, frames: FrameNumbers = None, partial: bool = False, by_frame: bool = False
) -> dict[str, Any]:
    """Fetch what `wish` asks for and say so; the fields that --json reports."""
    record: dict[str, Any] = {"output": None, "video": None}
    fetched: Fetched | None = None
    if wish.output is not None:
        fetched = _fetch(cli, job, wish.output, frames=frames, partial=partial, by_frame=by_frame)
        count = sum(map(len, fetched.files.values()))
        record |= {"output": str(wish.output), "fetched": len(fetched.files), "files": count, "bytes": fetched.bytes}
        record["received"] = fetched.received
        told = f"{human.plural(len(fetched.files), 'frame')}, {human.size(fetched.bytes)}"
        cli.say(f"{told} in {wish.output}")
    if wish.video is not None:
        if fetched is not None and not is_bundle(fetched.target):
            _video(cli, fetched, wish)
        else:
            with tempfile.TemporaryDirectory(prefix=".distren-frames-", dir=_existing(wish.video.parent)) as folder:
                _video(cli, _fetch(cli, job, Path(folder), frames=frames, partial=partial, by_frame=True), wish)
        record["video"] = str(wish.video)
    return record


def _fetch(cli: Cli, job: Job, target: Path, *, frames: FrameNumbers, partial: bool, by_frame: bool) -> Fetched:
    total = job.info().counts.get("done", 0)
    with counted(cli, "fetching", total) as counter:
        return job.fetch(target, frames, partial=partial, by_frame=by_frame, on_frame=counter.add)


def _video(cli: Cli, fetched: Fetched, wish: Wish) -> None:
    from distren.renderers.encode import (
        video,  # takes a quarter of a second, which only those who want a video wait for
    )

    assert wish.video is not None
    images = video.images_of(fetched.files, fetched.target)
    with counted(cli, "making the video", len(images)) as counter:
        count = video.write_video(images, wish.video, fps=wish.fps, on_image=counter.reach)
    cli.say(f"{count / wish.fps:.1f} s of video, {human.size(wish.video.stat().st_size)}, in {wish.video}")


def _existing(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
