"""`distren db upgrade`: brings the server's database to the schema of this version."""

from __future__ import annotations

import click

from distren.cli.context import Cli, json_option, pass_cli
from distren.cli.loading import loading
from distren.config import Settings
from distren.errors import OutputError


@click.group()
def db() -> None:
    """The server's database."""


@db.command()
@click.option("--database", metavar="URL", help="SQLAlchemy URL of the database; SQLite in the data folder by default.")
@json_option
@pass_cli
def upgrade(cli: Cli, database: str | None) -> None:
    """Make the database, or bring it to the schema of this version; the server must not run meanwhile."""
    revision = upgraded(cli.settings(database=database))
    cli.show({"schema": revision}, lambda: f"the database has schema {revision}")


def upgraded(settings: Settings) -> str:
    """Bring the database of `settings` to the newest schema, whose name is returned."""
    with loading():
        from distren.storage import schema  # 'distren --help' and 'distren down' do without

    if settings.database is None:
        folder = settings.data / "server"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"the data folder {folder} can not be written: {error.strerror}") from error
    return schema.upgrade(settings.database_url)
