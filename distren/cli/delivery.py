"""Brings a job's results to where a command wants them: a folder, a bundle, a video, or several of these."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from distren.cli import human
from distren.cli.context import Cli
from distren.cli.progress import counted
from distren.client.fetch import Fetched, check_writable, is_bundle
from distren.client.job import FrameNumbers, Job
from distren.client.plan import ENCODE
from distren.domain.states import FrameState
from distren.errors import InputError, JobFailed
from distren.renderers.encode import settings as words
from distren.wire.jobs import FrameInfo


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What a video is like; what is None is left to the renderer encode. `fps` is pictures per second."""

    fps: float = words.FPS
    codec: str | None = None
    quality: str | None = None
    exposure: float | None = None
    tonemap: str | None = None

    def settings(self, name: str) -> dict[str, str]:
        """The settings of the renderer encode for a video called `name`; raises InputError."""
        given = {key: f"{value:g}" if isinstance(value, float) else value for key, value in asdict(self).items()}
        found = {"name": name, **{key: value for key, value in given.items() if value is not None}}
        words.check(found)
        return found


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Where the results go; `output` is a folder or a tarball's name, `encoding` says what the video is like."""

    output: Path | None
    video: Path | None
    encoding: Encoding = field(default_factory=Encoding)

    def check(self) -> None:
        """Raise OutputError or InputError while nothing has been asked of the farm yet."""
        if self.output is not None:
            check_writable(self.output)
        if self.video is not None:
            if self.video.suffix.lower() not in words.ENDINGS:
                raise InputError(f"{self.video} is no name for a video: give one that ends in .mp4, .mov or .mkv")
            self.encoding.settings(self.video.name)
            check_writable(self.video.parent)
            if self.video.is_dir():
                raise InputError(f"{self.video} is a folder: give the video another name")

    def __bool__(self) -> bool:
        return self.output is not None or self.video is not None


def deliver(
    cli: Cli, job: Job, wish: Wish, *, frames: FrameNumbers = None, partial: bool = False, by_frame: bool = False
) -> dict[str, Any]:
    """Fetch what `wish` asks for and say so; the fields that --json reports.

    A video that the farm has made is fetched; where there is none, or it is to be of some frames only, it is made here.
    """
    record: dict[str, Any] = {"output": None, "video": None}
    made = job.video() if wish.video is not None and frames is None else None
    fetched: Fetched | None = None
    if wish.output is not None:
        without = () if made is None else (made.frame,)
        fetched = _fetch(cli, job, wish.output, frames, partial=partial, by_frame=by_frame, without=without)
        count = sum(map(len, fetched.files.values()))
        record |= {"output": str(wish.output), "fetched": len(fetched.files), "files": count, "bytes": fetched.bytes}
        record["received"] = fetched.received
        told = f"{human.plural(len(fetched.files), 'frame')}, {human.size(fetched.bytes)}"
        cli.say(f"{told} in {wish.output}")
    if wish.video is not None:
        if made is not None and made.state == FrameState.DONE:
            _bring_video(job, made, wish.video)
        elif fetched is not None and not is_bundle(fetched.target):
            _make_video(cli, fetched, wish)
        else:
            with tempfile.TemporaryDirectory(prefix=".distren-frames-", dir=_existing(wish.video.parent)) as folder:
                _make_video(cli, _fetch(cli, job, Path(folder), frames, partial=partial, by_frame=True), wish)
        cli.say(f"{human.size(wish.video.stat().st_size)} of video in {wish.video}")
        record["video"] = str(wish.video)
    return record


def without_video(cli: Cli, job: Job, wish: Wish) -> JobFailed | None:
    """Where a job failed for want of its video alone: bring the frames all the same; the error to end with."""
    lost = [frame for state in ("failed", "cancelled") for frame in job.frames([state])]
    if not lost or any(frame.renderer != ENCODE for frame in lost):
        return None
    rest = Wish(output=wish.output, video=None)
    if rest:
        deliver(cli, job, rest, partial=True)
    where = f"its frames are in {wish.output}" if rest else "its frames are done"
    return JobFailed(
        f"the video of job {job.id} was not made: {lost[0].reason or lost[0].state}; {where}, "
        f"'distren retry {job.id}' tries again"
    )


def _fetch(
    cli: Cli,
    job: Job,
    target: Path,
    frames: FrameNumbers,
    *,
    partial: bool,
    by_frame: bool,
    without: tuple[int, ...] = (),
) -> Fetched:
    total = job.info().counts.get("done", 0)
    with counted(cli, "fetching", total) as counter:
        return job.fetch(target, frames, partial=partial, by_frame=by_frame, without=without, on_frame=counter.add)


def _bring_video(job: Job, made: FrameInfo, target: Path) -> None:
    """The video that the farm has made; it appears complete or not at all."""
    with tempfile.TemporaryDirectory(prefix=".distren-video-", dir=_existing(target.parent)) as folder:
        fetched = job.fetch(Path(folder), [made.frame])
        [file] = fetched.files[made.frame]
        (Path(folder) / file).replace(target)


def _make_video(cli: Cli, fetched: Fetched, wish: Wish) -> None:
    from distren.renderers.encode import video  # takes a quarter of a second, which only those who want one wait for

    assert wish.video is not None
    settings = wish.encoding.settings(wish.video.name)
    images = video.images_of(fetched.files, fetched.target)
    with counted(cli, "making the video", len(images)) as counter:
        video.write_video(
            images,
            wish.video,
            fps=wish.encoding.fps,
            way=words.way(settings),
            look=words.look(settings),
            on_image=counter.reach,
        )


def _existing(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
