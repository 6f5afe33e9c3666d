"""What can befall the database of a server: a real one, with the test as client and worker."""

from __future__ import annotations

import queue
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from databases import PostgreSQL
from players import Player, RunningServer, player_of, running, settings
from sqlalchemy import Engine, event
from waiting import wait_for

from distren.errors import DatabaseDamaged, NoAnswer, NotFound, OutputError
from distren.server import reconcile
from distren.storage import engine, schema
from distren.wire import jobs


def test_a_server_without_a_database_for_a_while_answers_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, vhost_url: str, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine, "_BUSY", 500)
    with running(vhost_url, settings(tmp_path / "farm")) as server:
        _lock_out(server)


def _lock_out(server: RunningServer) -> None:
    player = player_of(server)
    job = player.submit("1-2").job
    player.work()
    first, second = player.next_frame(), player.next_frame()
    file = server.settings.database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        player.finish(*first)
        with pytest.raises(OutputError, match="database refuses: database is locked"):
            player.show(job)
        other.execute("ROLLBACK")
    player.finish(*second)
    wait_for(lambda: player.show(job).state == "done")
    player.link.close()


def test_a_server_goes_on_once_its_postgresql_is_back(
    vhost_url: str, postgresql_server: PostgreSQL, postgresql_url: str, tmp_path: Path
) -> None:
    given = settings(tmp_path / "farm", database=postgresql_url)
    with running(vhost_url, given) as server:
        player = player_of(server)
        job = player.submit("1-20").job
        player.work(room=5)
        held = [player.next_frame() for _ in range(5)]
        player.finish(*held[0])
        postgresql_server.kill()
        for delivery, render in held[1:]:
            player.finish(delivery, render)
        with pytest.raises(OutputError, match="database refuses: "):
            player.show(job)
        postgresql_server.start()
        for _ in range(15):
            player.finish(*player.next_frame())
        wait_for(lambda: player.show(job).state == "done")
        assert player.show(job).counts == {"done": 20}
        player.link.close()


def test_a_server_whose_database_is_damaged_under_it_ends_with_the_reason(vhost_url: str, tmp_path: Path) -> None:
    server = RunningServer(settings(tmp_path / "farm"), vhost_url)
    schema.upgrade(server.settings.database_url)
    server.start()
    player = player_of(server)
    player.submit("1-2000")
    file = Path(server.settings.database_url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(file)) as other:
        wait_for(lambda: other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
    with file.open("r+b") as pages:
        pages.seek(4096)
        pages.write(b"\xa5" * (file.stat().st_size - 4096))
    wait_for(lambda: server.error is not None)
    assert isinstance(server.error, DatabaseDamaged)
    player.link.close()


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
    player = player_of(server)
    job = player.submit("1-400").job
    player.work(room=400)
    taken = [player.next_frame() for _ in range(50)]
    pages.append(1)
    for delivery, render in taken:
        player.finish(delivery, render)
    with pytest.raises(OutputError, match="database refuses: database or disk is full"):
        player.submit("1-5000")
    assert player.show(job).counts.get("failed") is None
    pages.clear()
    for _ in range(350):
        player.finish(*player.next_frame())
    wait_for(lambda: player.show(job).state == "done")
    [attempt] = player.requester.ask(jobs.ListAttempts(job=job, frame=1), jobs.Attempts).attempts
    assert attempt.state == "done"
    player.link.close()


def test_a_full_disk_beside_the_blobs_takes_no_job_until_there_is_room(server: RunningServer) -> None:
    """The number of a job is noted there before anybody is told of it."""
    player = player_of(server)
    player.submit("1")
    note = server.settings.blobs / "waterline"
    note.unlink()
    note.mkdir()
    for _ in range(2):
        with pytest.raises(OutputError, match=r"the server can not write .*waterline: .*; nothing was changed"):
            player.submit("1-3")
    assert [path.name for path in note.parent.glob("waterline*")] == ["waterline"]
    note.rmdir()
    assert player.submit("1-3").job == 2
    player.link.close()


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
    player = player_of(server)
    assert player.submit("1").job == 1
    player.link.close()
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
    player = player_of(server)
    first = player.submit("1-6").job
    player.work(room=3)
    for _ in range(2):
        player.finish(*player.next_frame())
    wait_for(lambda: player.show(first).counts.get("done") == 2)
    file = Path(server.settings.database_url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(file)) as live, closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        live.backup(copy)
    player.finish(*player.next_frame())
    wait_for(lambda: player.show(first).counts.get("done") == 3)
    second = player.submit("1-4").job
    server.stop()
    for path in file.parent.glob(f"{file.name}*"):
        path.unlink()
    (tmp_path / "copy.db").rename(file)
    server.start()
    wait_for(lambda: _knows(player, first))
    with pytest.raises(NotFound):
        player.show(second)
    while player.show(first).state != "done":
        player.report()
        with suppress(queue.Empty):
            player.finish(*player.frames.get(timeout=1.0))
    assert player.show(first).counts == {"done": 6}
    assert player.submit("1").job > second, "a number is never given out twice"
    player.link.close()
    server.stop()
    assert server.error is None


def _knows(player: Player, job: int) -> bool:
    try:
        return player.requester.ask(jobs.ShowJob(job=job), jobs.ShownJob, timeout=2.0).job.job == job
    except NoAnswer:
        return False
