"""`distren version`."""

from __future__ import annotations

import click

from distren import __version__
from distren.cli.context import Cli, json_option, pass_cli


@click.command()
@json_option
@pass_cli
def version(cli: Cli) -> None:
    """Say which version of DistRen this is."""
    cli.show({"version": __version__}, lambda: f"DistRen {__version__}")
