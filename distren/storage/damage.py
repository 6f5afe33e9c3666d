"""A damaged database: found before a server uses it, and wherever a change meets the damage later."""

from __future__ import annotations

import sqlite3

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from distren.errors import DatabaseDamaged

_SQLITE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PRIMARY = 0xFF
"""of an extended result code of SQLite (sqlite.org/rescode.html): its primary code"""
_POSTGRESQL = ("XX001", "XX002")
"""data_corrupted and index_corrupted (PostgreSQL's manual, appendix A)"""


def watch(engine: Engine) -> None:
    """From now on `engine` raises DatabaseDamaged, in place of SQLAlchemy's errors, where the database is damaged."""
    event.listen(engine, "handle_error", lambda context: _tell(engine, context))


def examine(engine: Engine) -> None:
    """Read all pages of an SQLite database (a second for about 500 MB); PostgreSQL looks after its own.

    Raises DatabaseDamaged, and SQLAlchemy's DBAPIError where the database can not be opened.
    """
    if engine.dialect.name != "sqlite":
        return
    with engine.connect() as connection:
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if found != "ok":
        raise _damaged(engine, str(found))


def _tell(engine: Engine, context: ExceptionContext) -> None:
    error = context.original_exception
    code = getattr(error, "sqlite_errorcode", 0)
    if (isinstance(error, sqlite3.Error) and code & _PRIMARY in _SQLITE) or (
        getattr(error, "sqlstate", None) in _POSTGRESQL
    ):
        raise _damaged(engine, str(error)) from error


def _damaged(engine: Engine, why: str) -> DatabaseDamaged:
    where = engine.url.render_as_string()  # without the password
    return DatabaseDamaged(f"the database at {where} is damaged ({' '.join(why.split())}): put a copy back")
