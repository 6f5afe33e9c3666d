"""`distren logs`: what renderers printed, and print."""

from __future__ import annotations

import json

import click

from distren.cli import human, records, tables
from distren.cli.context import Cli, json_option, pass_cli, warn
from distren.client.job import Job
from distren.client.logs import LogPiece, log_text
from distren.errors import InputError, NotFound
from distren.wire.jobs import AttemptInfo


@click.command(short_help="Show what the renderer printed for a frame.")
@click.argument("frame", metavar="FRAME")
@click.option("--follow", "-f", is_flag=True, help="Go on while it is printed, until the frame has ended.")
@click.option("--attempt", type=click.IntRange(0), help="Which attempt; the last one by default.")
@click.option("--list", "listing", is_flag=True, help="List the attempts instead.")
@json_option
@pass_cli
def logs(cli: Cli, frame: str, follow: bool, attempt: int | None, listing: bool) -> None:
    """Show what the renderer printed for a frame, for example 17/frame/3."""
    if follow and (listing or attempt is not None):
        raise InputError("--follow goes through all attempts from now on: leave --attempt and --list out")
    with cli.farm() as farm:
        job, number = farm.frame(frame)
        if follow:
            _follow(cli, job, number)
            return
        attempts = job.attempts(number)
    if listing:
        cli.show([records.attempt(one) for one in attempts], lambda: tables.attempts(attempts))
        return
    chosen = _attempt(attempts, attempt, frame)
    cli.show(records.attempt(chosen), lambda: _shown(log_text(chosen)) or "(the renderer printed nothing)")


def _follow(cli: Cli, job: Job, number: int) -> None:
    attempt = 0
    for piece in job.follow_log(number, on_wait=warn):
        if cli.json:
            click.echo(json.dumps(records.log_piece(piece), ensure_ascii=False))
            continue
        if piece.attempt != attempt:
            attempt = piece.attempt
            warn(f"attempt {attempt} at frame {number} of job {job.id}, on worker {piece.worker}")
        if text := _shown(piece.text):
            click.echo(text)
        if piece.state != "rendering":
            warn(_end(piece))


def _end(piece: LogPiece) -> str:
    return f"attempt {piece.attempt} is {piece.state}" + (f": {piece.reason}" if piece.reason else "")


def _shown(text: str) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n")  # renderers end progress with a bare \r
    return human.harmless(lines.rstrip())


def _attempt(attempts: list[AttemptInfo], number: int | None, frame: str) -> AttemptInfo:
    if not attempts:
        raise NotFound(f"there is no log of {frame}: no worker has begun to render it")
    for one in attempts:
        if one.number == number:
            return one
    if number is None:
        return attempts[-1]
    raise NotFound(f"{frame} has no attempt {number}; there are: {', '.join(str(one.number) for one in attempts)}")
