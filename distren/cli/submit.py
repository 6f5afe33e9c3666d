"""`distren submit`, and the old blocking form `distren -i job.tar -o frames.tar`."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from distren.cli import human, progress
from distren.cli.context import Cli, json_option, pass_cli, warn
from distren.cli.delivery import Encoding, Wish, deliver, without_video
from distren.cli.job_options import as_arguments, job_options, video_options
from distren.client.farm import Farm
from distren.client.job import Job
from distren.client.upload import Upload
from distren.errors import InputError, JobFailed
from distren.wire.jobs import JobInfo, WorkerInfo


@click.command(short_help="Hand in a scene, a directory or a tarball.")
@click.argument("source", metavar="SCENE|DIRECTORY|TARBALL", type=click.Path(path_type=Path))
@job_options
@click.option("--wait", "-w", is_flag=True, help="Wait until the job has ended, and show how it goes.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), metavar="DIR|FILE.tar",
    help="Wait, then fetch the frames into this folder or tarball.",
)  # fmt: skip
@click.option("--video", type=click.Path(path_type=Path), metavar="FILE.mp4", help="Wait, then make a video.")
@video_options
@json_option
@pass_cli
def submit(
    cli: Cli,
    /,
    source: Path,
    wait: bool,
    output: Path | None,
    video: Path | None,
    fps: float,
    codec: str | None,
    quality: str | None,
    exposure: float | None,
    tonemap: str | None,
    **how: Any,
) -> None:
    """Hand in a job: a scene, a directory, or a tarball with a distrenjob.xml.

    Only files that the server does not have yet travel. Prints the job's number.
    """
    look = Encoding(fps=fps, codec=codec, quality=quality, exposure=exposure, tonemap=tonemap)
    wish = Wish(output=output, video=video, encoding=look)
    wish.check()
    with cli.farm() as farm:
        encode = None if video is None else look.settings(video.name)
        job, record = hand_in(cli, farm, source, **as_arguments(how), video=encode)
        if wait or wish:
            record |= finish(cli, job, wish)
    if cli.json:
        click.echo(json.dumps(record, ensure_ascii=False))


def hand_in(cli: Cli, farm: Farm, source: Path, **how: Any) -> tuple[Job, dict[str, Any]]:
    """Submit and say so; the job, and the fields that --json reports."""
    uploads: list[Upload] = []
    with progress.counted(cli, "sending", 0) as counter:

        def note(upload: Upload) -> None:
            uploads[:] = [upload]
            counter.reach(upload.sent_bytes, upload.missing_bytes)

        job = farm.submit(source, on_upload=note, **how)
    info = job.info()
    upload = uploads[-1] if uploads else Upload()
    total = sum(info.counts.values())
    cli.say(f"job {job.id} ({job.url}): {_counted(total, how.get('video'))} of '{info.name}', {_sent(upload)}")
    if info.error:
        warn(f"job {job.id} waits: {info.error}")
    mixed = mixed_versions(info, farm.workers())
    if mixed:
        warn(mixed)
    record = {
        "job": job.id,
        "url": job.url,
        "server": job.server,
        "name": info.name,
        "frames": total,
        "state": info.state,
        "uploaded": upload.sent_bytes,
        "known": upload.total_bytes - upload.sent_bytes,
        "warning": info.error or mixed or None,
    }
    return job, record


def mixed_versions(info: JobInfo, workers: Iterable[WorkerInfo]) -> str:
    """One line where workers that can render the job have its renderer in several versions; empty where not."""
    able = [one for one in workers if one.state == "working" and one.pool == info.pool]
    for name in info.renderers or [info.renderer]:
        versions = sorted({one.renderers[name] for one in able if name in one.renderers})
        if len(versions) > 1:
            return (
                f"pool '{info.pool}' has {name} {' and '.join(versions)}, whose pictures may differ: "
                "for one look give each version a pool of its own, and submit with --pool"
            )
    return ""


def finish(cli: Cli, job: Job, wish: Wish) -> dict[str, Any]:
    """Wait for the job, then bring what was asked for. Raises JobFailed where not every frame is done."""
    try:
        info = deque(job.watch(), maxlen=1).pop() if cli.json else progress.follow(cli, job)
    except KeyboardInterrupt:
        warn(f"job {job.id} goes on: 'distren watch {job.id}' shows it, 'distren cancel {job.id}' ends it")
        raise
    try:
        job.check_done(info)
    except JobFailed as error:
        raise without_video(cli, job, wish) or error from error
    took = None if info.ended is None else info.ended - info.created
    return {"state": info.state, "seconds": took} | (deliver(cli, job, wish) if wish else {})


def blocking(cli: Cli, source: Path | None, output: Path | None) -> None:
    """The old form: submit the tarball, wait, fetch the bundle."""
    if source is None or output is None:
        raise InputError("the blocking form needs both: distren -i JOB.tar -o FRAMES.tar")
    wish = Wish(output=output, video=None)
    wish.check()
    with cli.farm() as farm:
        job, record = hand_in(cli, farm, source)
        record |= finish(cli, job, wish)
    if cli.json:
        click.echo(json.dumps(record, ensure_ascii=False))


def _counted(total: int, video: object) -> str:
    """The frames of a new job as people count them."""
    return human.plural(total, "frame") if video is None else f"{human.plural(total - 1, 'frame')} and a video"


def _sent(upload: Upload) -> str:
    known = upload.total_bytes - upload.sent_bytes
    sent = f"{human.size(upload.sent_bytes)} sent"
    return f"{sent}, {human.size(known)} known to the server" if known else sent
