"""Commands about jobs that are there: see them, follow them, change them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from distren.cli import progress, records, tables
from distren.cli.context import Cli, json_option, pass_cli
from distren.client.job import Job
from distren.errors import InputError
from distren.wire.jobs import JobInfo

if TYPE_CHECKING:
    from distren.client.farm import Farm

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
@JOB
@click.option("--state", "states", multiple=True, help="Only frames in this state; may be given several times.")
@json_option
@pass_cli
def frames(cli: Cli, job: str, states: tuple[str, ...]) -> None:
    """List the frames of a job, or the one that 17/frame/3 names."""
    with cli.farm() as farm:
        found, only = _job_or_frame(farm, job)
        listed = list(found.frames(states or None)) if only is None else [found.frame(only)]
    cli.show(
        [records.frame(info, found.url) for info in listed],
        lambda: tables.frames(listed, time.time()) if listed else "no such frames",
    )


@click.command(short_help="Follow a job until it has ended.")
@JOB
@json_option
@pass_cli
def watch(cli: Cli, job: str) -> None:
    """Follow a job until it has ended; ends with 7 where not every frame is done."""
    with cli.farm() as farm:
        found = farm.job(job)
        found.check_done(progress.follow(cli, found))


@click.command(short_help="Call a job or a frame off.")
@click.argument("reference", metavar="JOB|FRAME")
@json_option
@pass_cli
def cancel(cli: Cli, reference: str) -> None:
    """Call a job off, or a single frame; frames that are done stay."""
    with cli.farm() as farm:
        job, only = _job_or_frame(farm, reference)
        _changed(cli, job, job.cancel(None if only is None else [only]))


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
@click.argument("reference", metavar="JOB|FRAME")
@click.option("--frames", "-f", metavar="RANGE", help="These frames, whatever became of them.")
@json_option
@pass_cli
def retry(cli: Cli, reference: str, frames: str | None) -> None:
    """Render again what failed or was cancelled, or the frames that you name."""
    with cli.farm() as farm:
        job, only = _job_or_frame(farm, reference)
        if only is not None and frames is not None:
            raise InputError(f"'{reference}' names a frame already: leave --frames out")
        _changed(cli, job, job.retry(frames if only is None else [only]))


@click.command()
@JOB
@click.argument("priority", type=click.IntRange(0, 100))
@json_option
@pass_cli
def priority(cli: Cli, job: str, priority: int) -> None:
    """Change a job's priority: 0 to 100, larger is rendered earlier."""
    _change(cli, job, lambda found: found.set_priority(priority))


@click.group(short_help="List the workers, or release one.", invoke_without_command=True)
@json_option
@pass_cli
def workers(cli: Cli) -> None:
    """List the workers: what they can render, what they are rendering, and who is in quarantine."""
    if click.get_current_context().invoked_subcommand is not None:
        return
    with cli.farm() as farm:
        found = farm.workers()
        peers = [] if cli.json or cli.server else [one for one in farm.peers() if one.room or one.lent]
    cli.show(
        [records.worker(one) for one in found],
        lambda: tables.workers(found, time.time()) if found else "no workers yet: start one with 'distren-worker'",
    )
    for peer in peers:
        cli.say(tables.helping_peer(peer))


@workers.command(short_help="Let a worker go on that is in quarantine.")
@click.argument("name", metavar="NAME")
@json_option
@pass_cli
def release(cli: Cli, name: str) -> None:
    """Let a worker go on that is in quarantine; starting it again does the same."""
    with cli.farm() as farm:
        found = farm.release(name)
    cli.show(records.worker(found), lambda: f"worker {found.worker} takes frames again")


def _change(cli: Cli, reference: str, change: Callable[[Job], JobInfo]) -> None:
    with cli.farm() as farm:
        job = farm.job(reference)
        _changed(cli, job, change(job))


def _changed(cli: Cli, job: Job, info: JobInfo) -> None:
    cli.show(records.job(info, job.server), lambda: progress.plain_line(info))


def _job_or_frame(farm: Farm, reference: str) -> tuple[Job, int | None]:
    """The job that the reference names, and the frame where it names one."""
    if farm.resolve(reference).frame is not None:
        return farm.frame(reference)
    return farm.job(reference), None
