"""What every command shares: the options that say which farm, `--json`, and the console."""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from distren import config
from distren.cli import human
from distren.cli.loading import loading
from distren.config import Settings
from distren.errors import SettingsError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from distren.client.farm import Farm

Command = TypeVar("Command", bound=Callable[..., Any])
_WIDE = 200
"""columns where stdout is no terminal: a table that is read by a program is not folded"""


@dataclass
class Cli:
    """The options of one call; handed to each command as its first argument."""

    broker: str | None = None
    data: Path | None = None
    server: str | None = None
    config: Path | None = None
    json: bool = False

    def settings(self, **flags: Any) -> Settings:
        """The settings with the flags applied; raises SettingsError."""
        if self.config is not None:
            if not self.config.is_file():
                raise SettingsError(f"{self.config} is no configuration file: give the path of a TOML file")
            os.environ["DISTREN_CONFIG"] = str(self.config)
        data = None if self.data is None else self.data.absolute()
        return config.load(broker=self.broker, data=data, server=self.server, **flags)

    @contextmanager
    def farm(self) -> Iterator[Farm]:
        """A connection to the farm that the options name."""
        with loading():
            from distren.client.farm import Farm  # a server or a worker starts without it

        settings = self.settings()
        with Farm(broker=settings.broker, data=settings.data, at=self.server) as farm:
            yield farm

    @functools.cached_property
    def console(self) -> Console:
        """Stdout, with colours where it is a terminal."""
        from rich.console import Console  # a server or a worker starts without it, as do commands that print JSON

        return Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else _WIDE)

    def show(self, record: Any, table: Callable[[], Table | str]) -> None:
        """Print `record` as JSON, or what `table` makes for people."""
        if self.json:
            click.echo(json.dumps(record, ensure_ascii=False))
            return
        made = table()
        if isinstance(made, str):
            self.console.print(made, markup=False, soft_wrap=True)
        else:
            self.console.print(made)

    def say(self, text: str) -> None:
        """A line for people; nothing with --json."""
        if not self.json:
            self.console.print(text, markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """One line on stderr about something that the user should know and that is no error."""
    click.echo(f"distren: {human.harmless(text)}", err=True)


class _Warnings(logging.Handler):
    """Shows warnings of the client as lines on stderr; asks for the stream each time, since a live display swaps it."""

    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())


def show_warnings() -> None:
    """Show what the client's modules warn of, and nothing that the libraries below them say."""
    logging.getLogger().handlers[:] = [logging.NullHandler()]
    ours = logging.getLogger("distren")
    ours.handlers[:] = [_Warnings(logging.WARNING)]
    ours.propagate = False


def _remember(context: click.Context, option: click.Parameter, value: Any) -> None:
    """Keep an option wherever it is given: before the command's name, or after it."""
    cli = context.ensure_object(Cli)
    if value is not None and value is not False:
        setattr(cli, option.name or "", value)


def farm_options(*, hidden: bool) -> Callable[[Command], Command]:
    """--broker, --data, --server, --config: shown in the help of `distren`, understood by every command."""
    path = click.Path(path_type=Path)
    options = [
        click.option("--broker", metavar="URL", help="The broker, as amqp://user:password@host:port/vhost."),
        click.option("--data", metavar="DIR", type=path, help="The folder that holds everything of the farm here."),
        click.option("--server", metavar="NAME", help="The server that is meant: a peer, or the one that is here."),
        click.option("--config", metavar="FILE", type=path, help="A configuration file (TOML)."),
    ]
    return _applied(options, hidden=hidden)


def json_option(command: Command) -> Command:
    """--json, and the options that say which farm."""
    option = click.option("--json", is_flag=True, help="Print JSON, for programs.")
    return farm_options(hidden=True)(_applied([option], hidden=False)(command))


def _applied(options: Iterable[Callable[[Any], Any]], *, hidden: bool) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(list(options)):
            option(command)
            made = command.__click_params__[-1]  # type: ignore[attr-defined]
            made.hidden, made.expose_value, made.callback = hidden, False, _remember
        return command

    return decorate


pass_cli = click.make_pass_decorator(Cli, ensure=True)
