"""`distren files` and `distren fetch`: what belongs to a job, and how it comes here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distren import urls
from distren.cli import human, records, tables
from distren.cli.context import Cli, json_option, pass_cli
from distren.cli.delivery import Encoding, Wish, deliver
from distren.cli.job_options import video_options
from distren.client.fetch import check_writable
from distren.errors import InputError

if TYPE_CHECKING:
    from distren.client.farm import Farm


KINDS = ("input", "bundle", "output", "log")


@click.command(short_help="List the files of a job.")
@click.argument("job", metavar="JOB")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only files of this kind.")
@json_option
@pass_cli
def files(cli: Cli, job: str, kinds: tuple[str, ...]) -> None:
    """List the files of a job by id: inputs, the bundle, and the result and the log of each attempt."""
    with cli.farm() as farm:
        found = farm.job(job)
        listed = [info for info in found.files() if not kinds or info.kind in kinds]
    cli.show([records.file(info, found.url) for info in listed], lambda: tables.files(listed))


@click.command(short_help="Bring a job's frames, a frame or a file here.")
@click.argument("reference", metavar="JOB|FRAME|FILE")
@click.option("--output", "-o", metavar="DIR|FILE", help="Where it goes: a folder, FILE.tar, or a file's name.")
@click.option("--frames", "-f", metavar="RANGE", help="Only these frames.")
@click.option("--partial", is_flag=True, help="What is done so far, of a job that is not done.")
@click.option("--by-frame", is_flag=True, help="A folder frame-ID for each frame.")
@click.option("--video", type=click.Path(path_type=Path), metavar="FILE.mp4", help="Make a video of the frames.")
@video_options
@json_option
@pass_cli
def fetch(
    cli: Cli,
    /,
    reference: str,
    output: str | None,
    video: Path | None,
    fps: float,
    codec: str | None,
    quality: str | None,
    exposure: float | None,
    tonemap: str | None,
    **how: Any,
) -> None:
    """Bring a job's frames here: into a folder, a tarball (.tar, .tar.gz, .tar.xz, .tar.zst), a video.

    Or a single frame, as 17/frame/3, or a single file, as 17/file/2. A fetch that broke off goes on where it was.
    """
    look = Encoding(fps=fps, codec=codec, quality=quality, exposure=exposure, tonemap=tonemap)
    wish = Wish(output=None if output is None else Path(output), video=video, encoding=look)
    if not wish:
        raise InputError("say where the frames go: -o DIR, -o FILE.tar or --video FILE.mp4")
    is_file = urls.parse(reference).file is not None
    if not is_file:
        wish.check()
    with cli.farm() as farm:
        if is_file:
            record = _one_file(cli, farm, reference, output, video, how)
        else:
            record = _frames(cli, farm, reference, wish, how)
    if cli.json:
        click.echo(json.dumps(record, ensure_ascii=False))


def _frames(cli: Cli, farm: Farm, reference: str, wish: Wish, how: dict[str, Any]) -> dict[str, Any]:
    if farm.resolve(reference).frame is not None:
        if how["frames"] is not None:
            raise InputError(f"'{reference}' names a frame already: leave --frames out")
        job, number = farm.frame(reference)
        how = {**how, "frames": [number]}
    else:
        job = farm.job(reference)
    return {"job": job.id, "url": job.url, **deliver(cli, job, wish, **how)}


def _one_file(
    cli: Cli, farm: Farm, reference: str, output: str | None, video: Path | None, how: dict[str, Any]
) -> dict[str, Any]:
    if output is None or video is not None or any(how.values()):
        raise InputError(f"'{reference}' names a file: give -o PATH, and no options that are about frames")
    job, number = farm.file(reference)
    target = Path(output)
    if output.endswith("/"):
        check_writable(target)
        target.mkdir(parents=True, exist_ok=True)
    fetched = job.fetch_file(number, target)
    cli.say(f"{human.size(fetched.bytes)} in {fetched.target}")
    url = f"{job.url}/file/{number}"
    sizes = {"bytes": fetched.bytes, "received": fetched.received}
    return {"job": job.id, "url": url, "output": str(fetched.target), "files": 1, **sizes}
