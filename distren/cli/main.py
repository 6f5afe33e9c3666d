"""`distren`: the command line for people who render, and for those who run a farm."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from distren.cli import errors
from distren.cli.context import Cli, farm_options, show_warnings
from distren.cli.loading import loading

_COMMANDS = {
    "up": "up",
    "down": "up",
    "submit": "submit",
    "pack": "pack",
    "validate": "validate",
    "jobs": "jobs",
    "status": "show",
    "show": "show",
    "watch": "jobs",
    "frames": "jobs",
    "logs": "logs",
    "preview": "preview",
    "files": "files",
    "fetch": "files",
    "cancel": "jobs",
    "pause": "jobs",
    "resume": "jobs",
    "retry": "jobs",
    "priority": "jobs",
    "move": "move",
    "delete": "delete",
    "workers": "jobs",
    "peers": "peers",
    "peer": "peers",
    "renderers": "renderers",
    "broker": "broker",
    "db": "database",
    "version": "version",
}
"""Each command's module, in the order in which a newcomer needs them."""


class _Commands(click.Group):
    """Imports a command's module when it is called: half a second for all of them is too long for each."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        with loading():
            module = importlib.import_module(f"distren.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(cls=_Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-i", "source", type=click.Path(path_type=Path), metavar="JOB.tar", help="Submit this, wait, and ...")
@click.option("-o", "output", type=click.Path(path_type=Path), metavar="FRAMES.tar", help="... fetch the frames.")
@farm_options(hidden=False)
@click.pass_context
def distren(context: click.Context, source: Path | None, output: Path | None) -> None:
    """DistRen, a render farm whose nervous system is RabbitMQ.

    A job is called 17, alpha/17 or distren://alpha/17. Options that say which farm may stand before or after the
    command's name.
    """
    show_warnings()
    cli = context.ensure_object(Cli)
    if context.invoked_subcommand is not None:
        if source is not None or output is not None:
            raise click.UsageError("-i and -o are a form of their own: 'distren -i JOB.tar -o FRAMES.tar'", context)
    elif source is None and output is None:
        click.echo(context.get_help())
    else:
        with loading():
            from distren.cli import submit

        submit.blocking(cli, source, output)


def main() -> None:
    """The console command `distren`."""
    errors.run(distren, "distren")
