"""What can befall the database of a server: a real one, with the test as client and worker."""

from __future__ import annotations

import queue
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from databases import PostgreSQL
from sqlalchemy import Engine, event
from test_farm_under_faults import peer_of, running
from test_server import Peer, RunningServer, settings
from waiting import wait_for

from distren.errors import DatabaseDamaged, NoAnswer, NotFound, OutputError
from distren.server import reconcile
from distren.storage import engine, schema
from distren.wire import jobs


@pytest.fixture
def server(vhost_url: str, tmp_path: Path) -> Iterator[RunningServer]:
    yield from running(vhost_url, tmp_path)


def test_a_server_without_a_database_for_a_while_answers_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, vhost_url: str, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine, "_BUSY", 500)
    with contextmanager(running)(vhost_url, tmp_path) as server:
        _lock_out(server)


def _lock_out(server: RunningServer) -> None:
    peer = peer_of(server)
    job = peer.submit("1-2").job
    peer.work()
    first, second = peer.next_frame(), peer.next_frame()
    file = server.settings.database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        peer.finish(*first)
        with pytest.raises(OutputError, match="database refuses: database is locked"):
            peer.show(job)
        other.execute("ROLLBACK")
    peer.finish(*second)
    peer.until(lambda: peer.show(job).state == "done")
    peer.link.close()


def test_a_server_goes_on_once_its_postgresql_is_back(
    vhost_url: str, postgresql_server: PostgreSQL, postgresql_url: str, tmp_path: Path
) -> None:
    given = settings(tmp_path / "farm", database=postgresql_url)
    with contextmanager(running)(vhost_url, tmp_path, given) as server:
        peer = peer_of(server)
        job = peer.submit("1-20").job
        peer.work(room=5)
        held = [peer.next_frame() for _ in range(5)]
        peer.finish(*held[0])
        postgresql_server.kill()
        for delivery, render in held[1:]:
            peer.finish(delivery, render)
        with pytest.raises(OutputError, match="database refuses: "):
            peer.show(job)
        postgresql_server.start()
        for _ in range(15):
            peer.finish(*peer.next_frame())
        peer.until(lambda: peer.show(job).state == "done")
        assert peer.show(job).counts == {"done": 20}
        peer.link.close()


def test_a_server_whose_database_is_damaged_under_it_ends_with_the_reason(vhost_url: str, tmp_path: Path) -> None:
    server = RunningServer(settings(tmp_path / "farm"), vhost_url)
    schema.upgrade(server.settings.database_url)
    server.start()
    peer = peer_of(server)
    peer.submit("1-2000")
    file = Path(server.settings.database_url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(file)) as other:
        wait_for(lambda: other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
    with file.open("r+b") as pages:
        pages.seek(4096)
        pages.write(b"\xa5" * (file.stat().st_size - 4096))
    wait_for(lambda: server.error is not None)
    assert isinstance(server.error, DatabaseDamaged)
    peer.link.close()


@pytest.fixture
def pages() -> Iterator[list[int]]:
    """The most pages that databases may have, while it is not empty: a disk without room."""
    most: list[int] = []

    def limit(connection: object) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={most[0] if most else 2**30}")  # type: ignore[attr-defined]

    event.listen(Engine, "begin", limit)
    yield most
    event.remove(Engine, "begin", limit)


def test_a_full_disk_under_the_database_stops_no_answer_and_costs_no_attempt(
    pages: list[int], server: RunningServer
) -> None:
    peer = peer_of(server)
    job = peer.submit("1-400").job
    peer.work(room=400)
    taken = [peer.next_frame() for _ in range(50)]
    pages.append(1)
    for delivery, render in taken:
        peer.finish(delivery, render)
    with pytest.raises(OutputError, match="database refuses: database or disk is full"):
        peer.submit("1-5000")
    assert peer.show(job).counts.get("failed") is None
    pages.clear()
    for _ in range(350):
        peer.finish(*peer.next_frame())
    peer.until(lambda: peer.show(job).state == "done")
    [attempt] = peer.requester.ask(jobs.ListAttempts(job=job, frame=1), jobs.Attempts).attempts
    assert attempt.state == "done"
    peer.link.close()


def test_a_server_that_starts_on_a_full_disk_waits_for_room(
    vhost_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = RunningServer(settings(tmp_path / "farm"), vhost_url)
    schema.upgrade(server.settings.database_url)
    in_the_way = server.settings.blobs / "waterline"
    in_the_way.mkdir(parents=True)  # a file that can not be written
    server.start()
    wait_for(lambda: "refuse a new term" in caplog.text)
    in_the_way.rmdir()
    peer = peer_of(server)
    assert peer.submit("1").job == 1
    peer.link.close()
    server.stop()
    assert server.error is None


def test_a_database_that_is_put_back_from_a_copy_goes_on_from_there(
    monkeypatch: pytest.MonkeyPatch, vhost_url: str, tmp_path: Path
) -> None:
    """What the copy knows as open is rendered to its end, also a frame whose result came after it."""
    monkeypatch.setattr(reconcile, "REISSUE_AFTER", timedelta(seconds=1))
    server = RunningServer(settings(tmp_path / "farm"), vhost_url)
    schema.upgrade(server.settings.database_url)
    server.start()
    peer = peer_of(server)
    first = peer.submit("1-6").job
    peer.work(room=3)
    for _ in range(2):
        peer.finish(*peer.next_frame())
    peer.until(lambda: peer.show(first).counts.get("done") == 2)
    file = Path(server.settings.database_url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(file)) as live, closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        live.backup(copy)
    peer.finish(*peer.next_frame())
    peer.until(lambda: peer.show(first).counts.get("done") == 3)
    second = peer.submit("1-4").job
    server.stop()
    for path in file.parent.glob(f"{file.name}*"):
        path.unlink()
    (tmp_path / "copy.db").rename(file)
    server.start()
    peer.until(lambda: _knows(peer, first))
    with pytest.raises(NotFound):
        peer.show(second)
    while peer.show(first).state != "done":
        peer.report()
        with suppress(queue.Empty):
            peer.finish(*peer.frames.get(timeout=1.0))
    assert peer.show(first).counts == {"done": 6}
    assert peer.submit("1").job > second, "a number is never given out twice"
    peer.link.close()
    server.stop()
    assert server.error is None


def _knows(peer: Peer, job: int) -> bool:
    try:
        return peer.requester.ask(jobs.ShowJob(job=job), jobs.ShownJob, timeout=2.0).job.job == job
    except NoAnswer:
        return False
