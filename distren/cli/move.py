"""`distren move`: a job goes to another server."""

from __future__ import annotations

import click

from distren.cli import human
from distren.cli.context import Cli, json_option, pass_cli
from distren.wire.moves import Moving


@click.command(short_help="Hand a job over to another server.")
@click.argument("job", metavar="JOB")
@click.argument("peer", metavar="SERVER")
@json_option
@pass_cli
def move(cli: Cli, job: str, peer: str) -> None:
    """Hand JOB over to the peer SERVER, which renders what is not done, and bundles. The old reference leads to it.

    A job can be moved that has not ended and stands alone: it needs no frames of other jobs, and no other job needs its
    frames. What is done goes along; what is being rendered is rendered there. Interrupted, the job goes on its way;
    'distren resume JOB' keeps it as long as SERVER has not been told to take it over.
    """
    said = ""

    def tell(progress: Moving) -> None:
        nonlocal said
        line = _line(progress, peer)
        if line != said:
            cli.say(line)
            said = line

    with cli.farm() as farm:
        found = farm.job(job)
        was = found.url
        found.move(peer, on_progress=tell)
    record = {"job": found.id, "server": found.server, "url": found.url, "was": was}
    cli.show(record, lambda: f"{was} is {found.url} now")


def _line(progress: Moving, server: str) -> str:
    if progress.waits:
        return f"waits: {human.harmless(progress.waits)}"
    if not progress.missing:
        return f"on its way to '{server}'"
    return f"on its way to '{server}': {human.size(progress.sent)} of {human.size(progress.missing)}"
