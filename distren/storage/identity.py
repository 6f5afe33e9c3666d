"""Whose database this is: the server's name, constant from its first start, and the term of the process that acts."""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, Engine, event, insert, select, update

from distren.errors import Conflict
from distren.storage.tables import identity


class Deposed(Exception):
    """Another process acts for this server by now: what was to be changed here is refused, and nothing has changed."""


def claim(connection: Connection, name: str, now: float) -> str:
    """Store `name` at the first start; later return the stored one. Raises Conflict where `name` is another."""
    stored = stored_name(connection)
    if stored is None and connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE identity")  # a standby may start at once; SQLite's changes take turns
        stored = stored_name(connection)
    if stored is None:
        connection.execute(insert(identity).values(name=name, created=now, mark=secrets.token_hex(16)))
        return name
    if stored != name:
        raise Conflict(
            f"this database belongs to the server '{stored}', not '{name}': a server's name never changes; "
            f"start it with --server {stored}, or give another database"
        )
    if connection.execute(select(identity.c.mark)).scalar() is None:
        connection.execute(update(identity).values(mark=secrets.token_hex(16)))
    return stored


def stored_name(connection: Connection) -> str | None:
    """The name that the database belongs to, None before the first start."""
    name: str | None = connection.execute(select(identity.c.name)).scalar()
    return name


def mark(connection: Connection) -> str:
    """A random word that tells this database from any other; made by the first `claim`."""
    return connection.execute(select(identity.c.mark)).scalar() or ""


def next_term(connection: Connection) -> int:
    """The number of the term that would begin now; others that want one wait for the end of the transaction."""
    term: int = connection.execute(select(identity.c.term).with_for_update()).scalar_one()
    return term + 1


def begin_term(connection: Connection, term: int) -> None:
    """Every process that acted until now is deposed with the commit."""
    connection.execute(update(identity).values(term=term))


def fence(engine: Engine, term: int) -> None:
    """From now on every transaction of `engine` begins by looking whether `term` still lasts, or raises Deposed.

    SQLite's transactions exclude each other; PostgreSQL holds the row, so that no term begins before the end of ours.
    """
    look = "SELECT term FROM identity" + ("" if engine.dialect.name == "sqlite" else " FOR SHARE")

    def check(connection: Connection) -> None:
        now = connection.exec_driver_sql(look).scalar()
        if now != term:
            raise Deposed(f"term {term} of this server is over: {now} has begun")

    event.listen(engine, "begin", check)
