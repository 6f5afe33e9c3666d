"""The migrations build what the tables say, and a server recognises what it can work with."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text
from waiting import wait_for

from distren.errors import Conflict, OutputError, SchemaError, SettingsError
from distren.storage import identity, schema
from distren.storage.engine import open_engine
from distren.storage.tables import metadata


def test_the_migrations_build_exactly_the_declared_tables(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_upgrading_twice_changes_nothing(database_url: str) -> None:
    assert schema.upgrade(database_url) == schema.upgrade(database_url) == schema.newest()


def test_an_empty_database_is_refused_with_the_command_to_run(database_url: str) -> None:
    engine = open_engine(database_url)
    with pytest.raises(SchemaError, match="run 'distren db upgrade'"):
        schema.check(engine)
    engine.dispose()


def test_a_schema_from_the_future_is_refused(engine: Engine, database_url: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaError, match="newer DistRen"):
        schema.check(engine)
    with pytest.raises(SchemaError, match="newer DistRen"):
        schema.upgrade(database_url)


def test_a_current_schema_is_accepted(engine: Engine) -> None:
    schema.check(engine)


def test_the_servers_name_is_constant(engine: Engine) -> None:
    with engine.begin() as connection:
        assert identity.stored_name(connection) is None
        assert identity.claim(connection, "alpha", 1.0) == "alpha"
        assert identity.claim(connection, "alpha", 2.0) == "alpha"
        with pytest.raises(Conflict, match="belongs to the server 'alpha', not 'beta'"):
            identity.claim(connection, "beta", 3.0)


def test_two_processes_that_start_at_once_on_a_new_database_agree_on_a_name(postgresql_url: str) -> None:
    schema.upgrade(postgresql_url)
    engine, refused = open_engine(postgresql_url), []

    def another_starts() -> None:
        with engine.begin() as connection:
            try:
                identity.claim(connection, "beta", 2.0)
            except Conflict as error:
                refused.append(error)

    other = threading.Thread(target=another_starts)
    with engine.begin() as connection:
        assert identity.claim(connection, "alpha", 1.0) == "alpha"
        other.start()
        wait_for(lambda: not other.is_alive() or waits_for_locks(engine))
    other.join()
    with engine.begin() as connection:
        assert connection.execute(text("SELECT name FROM identity")).scalars().all() == ["alpha"]
    engine.dispose()
    assert len(refused) == 1


def waits_for_locks(engine: Engine) -> bool:
    with engine.connect() as connection:
        return bool(connection.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar())


def test_a_database_that_can_not_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        schema.upgrade(f"sqlite:///{tmp_path / 'file' / 'distren.db'}")


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "distren.db").write_text("a letter to my mother, and not a database at all")
    with pytest.raises(OutputError, match="not a database"):
        schema.upgrade(f"sqlite:///{tmp_path / 'distren.db'}")


@pytest.mark.parametrize("url", ["nonsense", "mongo://host/name"])
def test_a_url_of_no_database_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="sqlite:///FILE"):
        open_engine(url)


def test_sqlite_keeps_its_promises(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'distren.db'}")
    with engine.begin() as connection:
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
        other = open_engine(f"sqlite:///{tmp_path / 'distren.db'}?timeout=0")
        raw = other.raw_connection()
        raw.execute("PRAGMA busy_timeout=0")
        with pytest.raises(Exception, match="locked"):
            raw.execute("BEGIN IMMEDIATE")
        raw.close()
        other.dispose()
    assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    engine.dispose()


def test_nobody_but_its_owner_reads_a_sqlite_database(tmp_path: Path) -> None:
    """Passwords of peers stand in it."""
    file = tmp_path / "server" / "distren.db"
    file.parent.mkdir()
    file.touch(0o644)
    file.chmod(0o644)
    schema.upgrade(f"sqlite:///{file}")
    engine = open_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        identity.claim(connection, "alpha", 1.0)
        found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}
    engine.dispose()
    assert found.pop("distren.db") == 0o600
    assert set(found.values()) <= {0o600}
