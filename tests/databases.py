"""A PostgreSQL of the tests' own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from processes import has_ended
from waiting import wait_for

from distren.storage.engine import open_engine

_PROGRAMS = "/usr/lib/postgresql"


def _programs() -> Path | None:
    found = sorted(Path(_PROGRAMS).glob("*/bin/initdb")) if Path(_PROGRAMS).is_dir() else []
    return found[-1].parent if found else None


def _as_postgres(*argv: str) -> list[str]:
    """PostgreSQL refuses to run as root: there, run it as the user that its package makes."""
    return (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *argv] if os.geteuid() == 0 else [*argv]
    )


class PostgreSQL:
    """An empty PostgreSQL server that listens on a socket in its own folder; `kill` and `start` are for tests."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self.folder = programs, folder
        self._data = folder / "data"
        self.url = f"postgresql://distren@/postgres?host={folder}"
        self._run(str(programs / "initdb"), "-D", str(self._data), "-A", "trust", "-U", "distren")

    def start(self) -> None:
        """Return once it takes connections."""
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c fsync=off"
        self._control("-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self._control("-m", "immediate", "stop")

    def kill(self) -> None:
        """kill -9 of all its processes, and no trace of them.

        In a container whose first process reaps nobody the dead stay as zombies, and by the files with the leader's
        number PostgreSQL would take it for one that runs.
        """
        file = self._data / "postmaster.pid"
        leader = psutil.Process(int(file.read_text().split()[0]))
        processes = [leader, *leader.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        wait_for(lambda: all(has_ended(process) for process in processes), 20)
        file.unlink()
        (self.folder / ".s.PGSQL.5432.lock").unlink()

    def _control(self, *arguments: str) -> None:
        self._run(str(self._programs / "pg_ctl"), "-D", str(self._data), "-w", *arguments)

    def _run(self, *argv: str) -> None:
        subprocess.run(_as_postgres(*argv), check=True, stdout=subprocess.DEVNULL, cwd="/")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    """A PostgreSQL of this session's own."""
    programs = _programs()
    if programs is None:
        message = "PostgreSQL is not installed: scripts/install test installs it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    folder = Path("/tmp") / f"distren-pg-{os.getpid()}"  # a socket's path may have 107 characters at most
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    try:
        made = PostgreSQL(programs, folder)
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql(postgresql_server: PostgreSQL) -> str:
    """The URL of its database `postgres`."""
    return postgresql_server.url


@pytest.fixture
def postgresql_url(postgresql: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    name = f"test_{os.urandom(6).hex()}"
    admin = open_engine(postgresql)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    admin.dispose()  # a test may kill the server, and with it what connections are open
    yield postgresql.replace("/postgres?", f"/{name}?")
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    admin.dispose()
