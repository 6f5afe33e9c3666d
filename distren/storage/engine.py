"""Opens the database: SQLite with the pragmas that keep it whole, or PostgreSQL."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from distren.errors import OutputError, SettingsError
from distren.storage import damage

_BUSY = 10_000
"""ms that a transaction waits for another process's"""
_POSTGRESQL = {"options": "-c idle_in_transaction_session_timeout=5000"}
"""5 s: a server that was stopped in mid-change holds what its successor needs, until the database ends its session"""


def open_engine(url: str) -> Engine:
    """An engine for `url`; the folder of an SQLite file is made. Raises SettingsError and OutputError.

    Wherever the database turns out to be damaged, what was asked of it raises DatabaseDamaged.

    SQLite: write-ahead log, full synchronous (a commit survives a power cut), foreign keys on, and every transaction
    begins IMMEDIATE: one that read first and then wanted to write would be refused when another writer came between.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "postgresql" and parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        engine = create_engine(parsed, connect_args=_POSTGRESQL if parsed.get_backend_name() == "postgresql" else {})
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise SettingsError(
            f"the database URL can not be used ({error}): write sqlite:///FILE or postgresql://user@host/name"
            " (which needs the extra 'distren[postgresql]')"
        ) from error
    damage.watch(engine)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database:
            try:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
                _keep_private(Path(parsed.database))
            except OSError as error:
                raise OutputError(f"the database's folder can not be made: {error}") from error
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def sqlite_file(engine: Engine) -> Path | None:
    """The file of an SQLite database; None for any other."""
    return Path(engine.url.database) if engine.dialect.name == "sqlite" and engine.url.database else None


def _keep_private(file: Path) -> None:
    """Nobody but its owner may read the database: passwords of peers stand in it. SQLite's other files follow it.

    What can not be made or changed stays as it is: SQLite will say what is wrong, if anything is.
    """
    with suppress(OSError):
        if file.name != ":memory:":
            os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
            file.chmod(0o600)


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's own BEGIN, above, is the only one
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY}"):
        connection.execute(f"PRAGMA {pragma}")
