"""A PostgreSQL of the tests' own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

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


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of an empty PostgreSQL server that listens on a socket in its own folder."""
    programs = _programs()
    if programs is None:
        message = "PostgreSQL is not installed: scripts/install test installs it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    socket = Path("/tmp") / f"distren-pg-{os.getpid()}"  # a socket's path may have 107 characters at most
    socket.mkdir(mode=0o777)
    socket.chmod(0o777)
    data = socket / "data"
    run = {"check": True, "stdout": subprocess.DEVNULL, "cwd": "/"}
    try:
        subprocess.run(_as_postgres(str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", "distren"), **run)
        options = f"-c listen_addresses='' -c unix_socket_directories={socket} -c fsync=off"
        control = _as_postgres(str(programs / "pg_ctl"), "-D", str(data), "-w")
        subprocess.run([*control, "-l", str(socket / "log"), "-o", options, "start"], **run)
        try:
            yield f"postgresql://distren@/postgres?host={socket}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **run)
    finally:
        shutil.rmtree(socket, ignore_errors=True)


@pytest.fixture
def postgresql_url(postgresql: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    name = f"test_{os.urandom(6).hex()}"
    admin = open_engine(postgresql)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield postgresql.replace("/postgres?", f"/{name}?")
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    admin.dispose()
