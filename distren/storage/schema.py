"""The database's schema: brought up to date by Alembic's migrations, and checked before a server uses it."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from distren.errors import OutputError, SchemaError
from distren.resources import folder
from distren.storage.engine import open_engine


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder("migrations")))
    config.attributes["connection"] = connection
    return config


def newest() -> str:
    """The revision that this version of DistRen works with."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def upgrade(url: str) -> str:
    """Bring the database at `url` to the newest revision, which is returned. Raises SchemaError and OutputError."""
    engine = open_engine(url)
    try:
        with engine.begin() as connection:
            known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
            current = MigrationContext.configure(connection).get_current_revision()
            if current is not None and current not in known:
                raise SchemaError(f"the database has schema {current}, made by a newer DistRen: upgrade DistRen")
            command.upgrade(_config(connection), "head")
    except DBAPIError as error:
        raise OutputError(f"the database at {engine.url!r} can not be opened: {error.orig}") from error
    finally:
        engine.dispose()
    return newest()


def check(engine: Engine) -> None:
    """Raise SchemaError unless the database has the schema that this version works with."""
    try:
        with engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
    except DBAPIError as error:
        raise OutputError(f"the database at {engine.url!r} can not be opened: {error.orig}") from error
    if current == newest():
        return
    if current is None:
        raise SchemaError(f"the database at {engine.url!r} is empty: run 'distren db upgrade'")
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if current in known:
        raise SchemaError(f"the database has the older schema {current}: run 'distren db upgrade'")
    raise SchemaError(f"the database has schema {current}, made by a newer DistRen: upgrade DistRen")
