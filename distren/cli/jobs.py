"""Commands about jobs that are there: see them, follow them, change them, fetch their frames."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import click

from distren.cli import human, progress, records, tables
from distren.cli.context import Cli, json_option, pass_cli
from distren.cli.delivery import Wish, deliver
from distren.client.job import Job, log_text
from distren.errors import InputError, NotFound
from distren.wire.jobs import AttemptInfo, JobInfo

JOB = click.argument("job", metavar="JOB")


@click.command()
@click.option("--all", "everything", is_flag=True, help="Every job, not only the newest.")
@click.option("--last", type=click.IntRange(1), default=20, show_default=True, help="How many of the newest.")
@json_option
@pass_cli
def jobs(cli: Cli, everything: bool, last: int) -> None:
    """List the jobs, newest first."""
    with cli.farm() as farm:
        found: list[JobInfo] = []
        for info in farm.jobs():
            found.append(info)
            if len(found) == last and not everything:
                break
        server = farm.server

    cli.show(
        [records.job(info, server) for info in found],
        lambda: tables.jobs(found, time.time()) if found else "no jobs yet: 'distren submit SCENE --frames 1-24'",
    )


@click.command()
@click.argument("job", metavar="[JOB]", required=False)
@json_option
@pass_cli
def status(cli: Cli, job: str | None) -> None:
    """Show one job, or how the farm is doing."""
    with cli.farm() as farm:
        if job is not None:
            _show_job(cli, farm.job(job))
            return
        description, workers = farm.describe(), farm.workers()
        newest = []
        for info in farm.jobs():
            newest.append(info)
            if len(newest) == 10:
                break
    at_work = [one for one in workers if one.state in ("working", "draining")]
    record = {
        "server": description.server,
        "version": description.software,
        "renderers": description.renderers,
        "workers": [records.worker(one) for one in at_work],
        "jobs": [records.job(info, description.server) for info in newest],
    }
    if cli.json:
        click.echo(json.dumps(record, ensure_ascii=False))
        return
    slots, held = sum(one.slots for one in at_work), sum(len(one.held) for one in at_work)
    cli.say(f"server {description.server}, DistRen {description.software}")
    cli.say(f"{human.plural(len(at_work), 'worker')} at work, {held} of {slots} slots rendering\n")
    if newest:
        cli.console.print(tables.jobs(newest, time.time()))


@click.command()
@JOB
@click.option("--state", "states", multiple=True, help="Only frames in this state; may be given several times.")
@json_option
@pass_cli
def frames(cli: Cli, job: str, states: tuple[str, ...]) -> None:
    """List the frames of a job."""
    with cli.farm() as farm:
        found = farm.job(job)
        listed = list(found.frames(states or None))
    cli.show(
        [records.frame(info, found.url) for info in listed],
        lambda: tables.frames(listed, time.time()) if listed else "no such frames",
    )


@click.command(short_help="Show what the renderer printed for a frame.")
@click.argument("frame", metavar="FRAME")
@click.option("--attempt", type=click.IntRange(0), help="Which attempt; the last one by default.")
@click.option("--list", "listing", is_flag=True, help="List the attempts instead.")
@json_option
@pass_cli
def logs(cli: Cli, frame: str, attempt: int | None, listing: bool) -> None:
    """Show what the renderer printed for a frame, for example 17/frame/3."""
    with cli.farm() as farm:
        job, number = farm.frame(frame)
        attempts = job.attempts(number)
    if listing:
        cli.show([records.attempt(one) for one in attempts], lambda: tables.attempts(attempts))
        return
    chosen = _attempt(attempts, attempt, frame)
    cli.show(records.attempt(chosen), lambda: _for_people(chosen))


def _for_people(attempt: AttemptInfo) -> str:
    lines = log_text(attempt).replace("\r\n", "\n").replace("\r", "\n")  # renderers end progress with a bare \r
    return human.harmless(lines.rstrip()) or "(the renderer printed nothing)"


def _attempt(attempts: list[AttemptInfo], number: int | None, frame: str) -> AttemptInfo:
    if not attempts:
        raise NotFound(f"there is no log of {frame}: no worker has begun to render it")
    for one in attempts:
        if one.number == number:
            return one
    if number is None:
        return attempts[-1]
    raise NotFound(f"{frame} has no attempt {number}; there are: {', '.join(str(one.number) for one in attempts)}")


@click.command(short_help="Follow a job until it has ended.")
@JOB
@json_option
@pass_cli
def watch(cli: Cli, job: str) -> None:
    """Follow a job until it has ended; ends with 7 where not every frame is done."""
    with cli.farm() as farm:
        found = farm.job(job)
        found.check_done(progress.follow(cli, found))


@click.command(short_help="Bring a job's frames here.")
@JOB
@click.option("--output", "-o", type=click.Path(path_type=Path), metavar="DIR|FILE.tar", help="Where the frames go.")
@click.option("--frames", "-f", metavar="RANGE", help="Only these frames.")
@click.option("--partial", is_flag=True, help="What is done so far, of a job that is not done.")
@click.option("--by-frame", is_flag=True, help="A folder frame-ID for each frame.")
@click.option("--video", type=click.Path(path_type=Path), metavar="FILE.mp4", help="Make a video of the frames.")
@click.option("--fps", type=click.FloatRange(0.1, 1000), default=25.0, show_default=True, help="Pictures per second.")
@json_option
@pass_cli
def fetch(
    cli: Cli,
    job: str,
    output: Path | None,
    frames: str | None,
    partial: bool,
    by_frame: bool,
    video: Path | None,
    fps: float,
) -> None:
    """Bring a job's frames here: into a folder, a tarball (.tar, .tar.gz, .tar.xz, .tar.zst), a video."""
    wish = Wish(output=output, video=video, fps=fps)
    if not wish:
        raise InputError("say where the frames go: -o DIR, -o FILE.tar or --video FILE.mp4")
    wish.check()
    with cli.farm() as farm:
        found = farm.job(job)
        record = deliver(cli, found, wish, frames=frames, partial=partial, by_frame=by_frame)
    if cli.json:
        click.echo(json.dumps({"job": found.id, "url": found.url, **record}, ensure_ascii=False))


@click.command()
@JOB
@json_option
@pass_cli
def cancel(cli: Cli, job: str) -> None:
    """Call a job off; frames that are done stay."""
    _change(cli, job, Job.cancel)


@click.command()
@JOB
@json_option
@pass_cli
def pause(cli: Cli, job: str) -> None:
    """Hand out no more frames of a job; those in hand are finished."""
    _change(cli, job, Job.pause)


@click.command()
@JOB
@json_option
@pass_cli
def resume(cli: Cli, job: str) -> None:
    """Let a paused job go on."""
    _change(cli, job, Job.resume)


@click.command(short_help="Render again what failed, or the frames that you name.")
@JOB
@click.option("--frames", "-f", metavar="RANGE", help="These frames, whatever became of them.")
@json_option
@pass_cli
def retry(cli: Cli, job: str, frames: str | None) -> None:
    """Render again what failed or was cancelled, or the frames that you name."""
    _change(cli, job, lambda found: found.retry(frames))


@click.command()
@JOB
@click.argument("priority", type=click.IntRange(0, 100))
@json_option
@pass_cli
def priority(cli: Cli, job: str, priority: int) -> None:
    """Change a job's priority: 0 to 100, larger is rendered earlier."""
    _change(cli, job, lambda found: found.set_priority(priority))


@click.command(short_help="List the workers.")
@json_option
@pass_cli
def workers(cli: Cli) -> None:
    """List the workers: what they can render, and what they are rendering."""
    with cli.farm() as farm:
        found = farm.workers()
    cli.show(
        [records.worker(one) for one in found],
        lambda: tables.workers(found, time.time()) if found else "no workers yet: start one with 'distren-worker'",
    )


def _change(cli: Cli, reference: str, change: Callable[[Job], JobInfo]) -> None:
    with cli.farm() as farm:
        job = farm.job(reference)
        info = change(job)
    cli.show(records.job(info, job.server), lambda: progress.plain_line(info))


def _show_job(cli: Cli, job: Job) -> None:
    info = job.info()
    cli.show(records.job(info, job.server), lambda: tables.job(info, job.url, time.time()))
