"""The server's name: stored at the first start, constant from then on."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from distren.errors import Conflict
from distren.storage.tables import identity


def claim(connection: Connection, name: str, now: float) -> str:
    """Store `name` at the first start; later return the stored one. Raises Conflict where `name` is another."""
    stored: str | None = connection.execute(select(identity.c.name)).scalar()
    if stored is None:
        connection.execute(insert(identity).values(name=name, created=now))
        return name
    if stored != name:
        raise Conflict(
            f"this database belongs to the server '{stored}', not '{name}': a server's name never changes; "
            f"start it with --server {stored}, or give another database"
        )
    return stored


def stored_name(connection: Connection) -> str | None:
    """The name that the database belongs to, None before the first start."""
    name: str | None = connection.execute(select(identity.c.name)).scalar()
    return name
