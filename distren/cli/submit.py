"""`distren submit`, and the old blocking form `distren -i job.tar -o frames.tar`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click

from distren.cli import human, progress
from distren.cli.context import Cli, json_option, pass_cli, warn
from distren.cli.delivery import Wish, deliver
from distren.client.farm import Farm
from distren.client.job import Job
from distren.client.upload import Upload
from distren.errors import InputError


def _size(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})[xX](\d{1,6})", text, re.ASCII)
    if not match or not int(match[1]) or not int(match[2]):
        raise click.BadParameter(f"'{text}' is no image size: write for example 640x360")
    return int(match[1]), int(match[2])


def _settings(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"'{text}' is no setting: write key=value, for example quality=9")
        found[key.strip()] = value
    return found


@click.command(short_help="Hand in a scene, a directory or a tarball.")
@click.argument("source", metavar="SCENE|DIRECTORY|TARBALL", type=click.Path(path_type=Path))
@click.option("--frames", "-f", metavar="RANGE", help="Frames to render: 1-24, 1-100x2 (every second one), 3,7,12.")
@click.option("--size", "-s", callback=_size, metavar="WxH", help="Pixels of the images, for example 640x360.")
@click.option("--name", "-n", help="What the job is called; the scene's name by default.")
@click.option("--pool", help="The pool of workers that renders it.")
@click.option("--priority", type=click.IntRange(0, 100), help="0 to 100; larger is rendered earlier (default 50).")
@click.option("--renderer", "-r", help="The renderer, where the scene's name does not tell.")
@click.option(
    "--set", "settings", multiple=True, callback=_settings, metavar="KEY=VALUE", help="A setting of the renderer."
)
@click.option("--wait", "-w", is_flag=True, help="Wait until the job has ended, and show how it goes.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), metavar="DIR|FILE.tar",
    help="Wait, then fetch the frames into this folder or tarball.",
)  # fmt: skip
@click.option("--video", type=click.Path(path_type=Path), metavar="FILE.mp4", help="Wait, then make a video.")
@click.option("--fps", type=click.FloatRange(0.1, 1000), default=25.0, show_default=True, help="Pictures per second.")
@json_option
@pass_cli
def submit(
    cli: Cli,
    /,
    source: Path,
    frames: str | None,
    size: tuple[int, int] | None,
    settings: dict[str, str],
    wait: bool,
    output: Path | None,
    video: Path | None,
    fps: float,
    **words: Any,
) -> None:
    """Hand in a job: a scene, a directory, or a tarball with a distrenjob.xml.

    Only files that the server does not have yet travel. Prints the job's number.
    """
    wish = Wish(output=output, video=video, fps=fps)
    wish.check()
    width, height = size or (None, None)
    with cli.farm() as farm:
        job, record = hand_in(cli, farm, source, frames=frames, width=width, height=height, settings=settings, **words)
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
    cli.say(f"job {job.id} ({job.url}): {human.plural(total, 'frame')} of '{info.name}', {_sent(upload)}")
    if info.error:
        warn(f"job {job.id} waits: {info.error}")
    record = {
        "job": job.id,
        "url": job.url,
        "server": job.server,
        "name": info.name,
        "frames": total,
        "state": info.state,
        "uploaded": upload.sent_bytes,
        "known": upload.total_bytes - upload.sent_bytes,
        "warning": info.error or None,
    }
    return job, record


def finish(cli: Cli, job: Job, wish: Wish) -> dict[str, Any]:
    """Wait for the job, then bring what was asked for. Raises JobFailed where not every frame is done."""
    try:
        info = job.wait() if cli.json else progress.follow(cli, job)
    except KeyboardInterrupt:
        warn(f"job {job.id} goes on: 'distren watch {job.id}' shows it, 'distren cancel {job.id}' ends it")
        raise
    job.check_done(info)
    took = None if info.ended is None else info.ended - info.created
    return {"state": info.state, "seconds": took} | (deliver(cli, job, wish) if wish else {})


def blocking(cli: Cli, source: Path | None, output: Path | None) -> None:
    """The old form: submit the tarball, wait, fetch the bundle."""
    if source is None or output is None:
        raise InputError("the blocking form needs both: distren -i JOB.tar -o FRAMES.tar")
    wish = Wish(output=output, video=None, fps=25.0)
    wish.check()
    with cli.farm() as farm:
        job, record = hand_in(cli, farm, source)
        record |= finish(cli, job, wish)
    if cli.json:
        click.echo(json.dumps(record, ensure_ascii=False))


def _sent(upload: Upload) -> str:
    known = upload.total_bytes - upload.sent_bytes
    if not upload.sent_bytes:
        return "all files were there already"
    sent = f"{human.size(upload.sent_bytes)} sent"
    return f"{sent}, {human.size(known)} were there already" if known else sent
