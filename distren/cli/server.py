"""`distren-server`: accepts jobs, hands out frames, collects results; ends cleanly on SIGINT and SIGTERM."""

from __future__ import annotations

import signal

import click

from distren.cli import errors, journal
from distren.cli.context import Cli, farm_options, pass_cli
from distren.cli.loading import loading


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@farm_options(hidden=False)
@click.option("--database", metavar="URL", help="SQLAlchemy URL of the database; SQLite in the data folder by default.")
@click.version_option(package_name="distren", message="DistRen %(version)s")
@pass_cli
def server(cli: Cli, database: str | None) -> None:
    """The server of a farm: one process that accepts jobs, hands out their frames and collects the results.

    The database must have the current schema: 'distren db upgrade' makes it. Frames that are being rendered when the
    server ends go on; their results wait in the broker.
    """
    with loading():
        from distren.broker.locate import broker_url
        from distren.server.daemon import Server

    journal.begin()
    settings = cli.settings(database=database)
    daemon = Server(settings, broker_url(settings))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: daemon.stop())
    daemon.run()


def main() -> None:
    """The console command `distren-server`."""
    errors.run(server, "distren-server")


if __name__ == "__main__":
    main()
