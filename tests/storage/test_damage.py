"""A damaged database is recognised before a server uses it, and where a change meets the damage."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from sqlite3 import connect

import pytest
from sqlalchemy import text

from distren.errors import DatabaseDamaged
from distren.storage import damage, schema
from distren.storage.engine import open_engine

PAGE = 4096


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The database of a server with some workers on record."""
    path = tmp_path / "distren.db"
    schema.upgrade(f"sqlite:///{path}")
    with closing(connect(path)) as connection:
        connection.execute("CREATE TABLE ballast (id INTEGER PRIMARY KEY, words TEXT)")
        connection.executemany("INSERT INTO ballast (words) VALUES (?)", [("word " * 100,) for _ in range(400)])
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def overwritten(path: Path) -> None:
    """A page in the middle of the last table has other bytes."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 20 * PAGE)
        file.write(b"\xa5" * PAGE)


def truncated(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // PAGE // 2 * PAGE)


def no_database(path: Path) -> None:
    path.write_bytes(b"This is no database at all. " * PAGE)


@pytest.mark.parametrize("harm", [overwritten, truncated, no_database])
def test_a_damaged_file_is_recognised(file: Path, harm: Callable[[Path], None]) -> None:
    engine = open_engine(f"sqlite:///{file}")
    damage.examine(engine)
    engine.dispose()
    harm(file)
    with pytest.raises(DatabaseDamaged, match=r"is damaged .*: put a copy back"):
        damage.examine(engine)
    engine.dispose()


@pytest.mark.parametrize("harm", [overwritten, truncated, no_database])
def test_a_change_that_meets_the_damage_says_so(file: Path, harm: Callable[[Path], None]) -> None:
    engine = open_engine(f"sqlite:///{file}")
    harm(file)
    with pytest.raises(DatabaseDamaged), engine.begin() as connection:
        connection.execute(text("UPDATE ballast SET words = words || 'more'"))
    engine.dispose()
    with pytest.raises(DatabaseDamaged):
        schema.upgrade(f"sqlite:///{file}") if harm is no_database else damage.examine(engine)
