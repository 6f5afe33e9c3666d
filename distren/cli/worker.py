"""`distren-worker`: renders frames; the first Ctrl-C finishes those in hand, the second gives them back."""

from __future__ import annotations

import itertools
import os
import signal
from typing import Literal

import click

from distren.cli import errors, journal
from distren.cli.context import Cli, farm_options, pass_cli
from distren.cli.loading import loading
from distren.cli.worker_options import worker_options

_FINISHING = b"distren-worker: finishing the frames in hand; Ctrl-C again gives them back\n"
"""written as it is: a signal may come while a line is logged, and in that no other can be printed"""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@worker_options
@farm_options(hidden=False)
@click.version_option(package_name="distren", message="DistRen %(version)s")
@pass_cli
def worker(
    cli: Cli,
    slots: int | Literal["auto"],
    renderers: str | None,
    pool: str,
    name: str | None,
    sandbox: str | None,
) -> None:
    """A worker of a farm: takes frames from the broker, renders them in child processes, sends the results.

    SIGINT (Ctrl-C) lets it finish the frames in hand; a second one, or SIGTERM, gives them back at once.
    """
    with loading():
        from distren.broker.locate import broker_url
        from distren.worker import keepers
        from distren.worker.agent import Worker

    journal.begin()
    settings = cli.settings(sandbox=sandbox)
    wanted = None if renderers is None else [one.strip() for one in renderers.split(",") if one.strip()]
    agent = Worker(settings, broker_url=broker_url(settings), name=name, pool=pool, renderers=wanted, slots=slots)
    asked = itertools.count(1)

    def interrupted(*_: object) -> None:
        if next(asked) == 1:
            os.write(2, _FINISHING)
            agent.drain()
        else:
            agent.give_back()

    keepers.adopt_orphans()
    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, lambda *_: agent.give_back())
    agent.run()


def main() -> None:
    """The console command `distren-worker`."""
    errors.run(worker, "distren-worker")


if __name__ == "__main__":
    main()
