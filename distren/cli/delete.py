"""`distren delete`: jobs that nobody wants any more."""

from __future__ import annotations

import click

from distren.cli.context import Cli, json_option, pass_cli


@click.command(short_help="Delete a job with all that it has.")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Even if it has not ended: what is being rendered of it is stopped.")
@json_option
@pass_cli
def delete(cli: Cli, jobs: tuple[str, ...], force: bool) -> None:
    """Delete jobs: their frames, results, logs and files. Their numbers are never given again."""
    with cli.farm() as farm:
        for reference in jobs:
            job = farm.job(reference)
            job.delete(force=force)
            cli.show({"job": job.id, "url": job.url, "deleted": True}, lambda: f"job {job.id} is deleted")  # noqa: B023
