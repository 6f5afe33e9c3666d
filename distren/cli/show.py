"""`distren show` and `distren status`: what a reference names, in any of its forms."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from distren.cli import human, records, tables
from distren.cli.context import Cli, json_option, pass_cli
from distren.client.job import Job

if TYPE_CHECKING:
    from distren.client.farm import Farm

_NEWEST = 10


@click.command(short_help="Show a server, a job, a frame or a file.")
@click.argument("reference", metavar="REFERENCE")
@json_option
@pass_cli
def show(cli: Cli, reference: str) -> None:
    """Show what a reference names: a server, a job, a frame or a file.

    For example distren://alpha/, 17, distren://alpha/17/frame/3 or 17/file/2.
    """
    with cli.farm() as farm:
        _show(cli, farm, reference)


@click.command()
@click.argument("reference", metavar="[JOB]", required=False)
@json_option
@pass_cli
def status(cli: Cli, reference: str | None) -> None:
    """Show one job, or how the farm is doing."""
    with cli.farm() as farm:
        if reference is None:
            _show_farm(cli, farm)
        else:
            _show(cli, farm, reference)


def _show(cli: Cli, farm: Farm, reference: str) -> None:
    url = farm.resolve(reference)
    if url.job is None:
        _show_farm(cli, farm)
    elif url.frame is not None:
        _show_frame(cli, *farm.frame(reference))
    elif url.file is not None:
        _show_file(cli, *farm.file(reference))
    else:
        job = farm.job(reference)
        info = job.info()
        cli.show(records.job(info, job.server), lambda: tables.job(info, job.url, time.time()))


def _show_frame(cli: Cli, job: Job, number: int) -> None:
    info, attempts = job.frame(number), job.attempts(number)
    if cli.json:
        click.echo(json.dumps(records.frame(info, job.url), ensure_ascii=False))
        return
    cli.say(f"{job.url}/frame/{number}\n")
    cli.console.print(tables.frames([info], time.time()))
    if attempts:
        cli.console.print(tables.attempts(attempts))


def _show_file(cli: Cli, job: Job, number: int) -> None:
    info = job.file(number)
    cli.show(records.file(info, job.url), lambda: tables.files([info]))


def _show_farm(cli: Cli, farm: Farm) -> None:
    description, workers = farm.describe(), farm.workers()
    newest = []
    for info in farm.jobs():
        newest.append(info)
        if len(newest) == _NEWEST:
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
