"""A real server on a real broker; the test plays client and worker."""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path

import pytest
from players import Player, RunningServer, attempt_at, player_of, running, settings
from waiting import wait_for

from distren.domain import frameset
from distren.domain.job import JobSpec
from distren.domain.needs import Needs
from distren.errors import Conflict
from distren.jobfile.writer import write_jobfile
from distren.server import collection
from distren.wire import jobs
from distren.wire.frames import Failed, Started
from distren.wire.jobs import Manifest, ManifestFile


def test_a_job_passes_from_submit_to_done(player: Player) -> None:
    submitted = player.submit("1-3")
    assert (submitted.server, submitted.frames) == ("alpha", 3)
    player.listen(submitted.job)
    player.work()
    for _ in range(3):
        delivery, render = player.next_frame()
        assert render.job == submitted.job
        player.tell(Started(**attempt_at(render)))  # type: ignore[arg-type]
        player.finish(delivery, render)
    news = player.news_of(submitted.job, lambda news: news.state == "done")
    assert news.counts == {"done": 3}
    listed = player.requester.ask(jobs.ListFrames(job=submitted.job), jobs.Frames)
    assert [frame.frame for frame in listed.frames] == [1, 2, 3]
    for frame in listed.frames:
        assert frame.result is not None
        assert player.store.path(frame.result.digest).read_bytes() == f"frame {frame.frame}".encode()


def test_a_frame_is_issued_with_the_results_that_it_needs(player: Player) -> None:
    job = player.submit("1-3", needs=(Needs(frames=frameset.parse("3"), needed=frameset.parse("1-2")),)).job
    player.listen(job)
    listed = player.requester.ask(jobs.ListFrames(job=job), jobs.Frames).frames
    assert [(frame.state, frame.waits_for) for frame in listed] == [("ready", 0), ("ready", 0), ("blocked", 2)]
    assert listed[2].reason == f"waits for distren://alpha/{job}/frame/1 and 1 more"
    player.work()
    for _ in range(2):
        player.finish(*player.next_frame())
    delivery, render = player.next_frame()
    digests = [hashlib.sha256(f"frame {number}".encode()).hexdigest() for number in (1, 2)]
    assert render.frame == 3
    assert render.needs == [(job, 1, digests[0], 7), (job, 2, digests[1], 7)]
    player.finish(delivery, render)
    player.news_of(job, lambda news: news.state == "done")


def test_a_server_keeps_its_jobs_in_postgresql(vhost_url: str, postgresql_url: str, tmp_path: Path) -> None:
    given = settings(tmp_path, database=postgresql_url)
    with running(vhost_url, given) as server, player_of(server) as player:
        job = player.submit("1-3").job
        player.work()
        player.finish(*player.next_frame())
        server.stop()
        server.start()
        player.report()
        player.finish(*player.next_frame())
        player.finish(*player.next_frame())
        wait_for(lambda: player.show(job).state == "done")


def test_the_disk_of_a_deleted_job_is_freed_and_what_others_need_stays(
    vhost_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "_FIRST", 0.0)
    with running(vhost_url, settings(tmp_path)) as server, player_of(server) as player:
        first, second = player.submit("1", files={"big.inc": b"x" * 10**6}).job, player.submit("1").job
        for path in server.settings.blobs.glob("??/*"):
            os.utime(path, (1.0, 1.0))
        digest = hashlib.sha256(b"x" * 10**6).hexdigest()
        player.requester.ask(jobs.Change(job=first, action="delete", force=True), jobs.ShownJob)
        wait_for(lambda: bool(player.show(second)) and not player.store.has(digest))
        assert not player.store.has(digest)
        files = player.requester.ask(jobs.ListFiles(job=second), jobs.Files).files
        assert all(player.store.has(file.blob.digest) for file in files if file.blob is not None)


def test_a_repeated_submission_is_the_same_job(player: Player) -> None:
    spec = JobSpec(name="test", renderer="povray", frames=frameset.parse("5"), settings={"scene": "a.pov"})
    blob, scene = player.store.put(write_jobfile(spec)), player.store.put(b"camera {}")
    listed = [
        ManifestFile(path="distrenjob.xml", digest=blob.digest, size=blob.size),
        ManifestFile(path="a.pov", digest=scene.digest, size=scene.size),
    ]
    manifest, key = player.store.put(Manifest(files=listed).encode()), uuid.uuid4().hex
    assert player.ask_submit(manifest, key) == player.ask_submit(manifest, key)


def test_a_damaged_result_is_a_failed_attempt_and_the_frame_is_issued_again(player: Player) -> None:
    job = player.submit("1").job
    player.listen(job)
    player.work()
    player.finish(*player.next_frame(), tarball=b"frame X")
    delivery, render = player.next_frame()
    assert render.issue == 2
    player.finish(delivery, render)
    player.news_of(job, lambda news: news.state == "done")
    attempts = player.requester.ask(jobs.ListAttempts(job=job, frame=1), jobs.Attempts).attempts
    assert [(attempt.state, attempt.reason) for attempt in attempts] == [
        ("failed", "its frame tarball arrived damaged"),
        ("done", None),
    ]


def test_a_job_without_workers_says_what_it_waits_for(player: Player) -> None:
    job = player.submit().job
    assert "no worker of pool 'default' can run 'povray'" in player.show(job).error


def test_a_paused_job_gives_its_queued_frames_back_and_goes_on_when_resumed(player: Player) -> None:
    player.work(room=1)
    job = player.submit("1-9").job
    player.listen(job)
    delivery, render = player.next_frame()
    player.tell(Started(**attempt_at(render)))  # type: ignore[arg-type]
    wait_for(lambda: player.show(job).counts.get("rendering") == 1)
    change = jobs.Change(job=job, action="pause")
    assert player.requester.ask(change, jobs.ShownJob).job.state == "paused"
    wait_for(lambda: player.show(job).counts == {"ready": 8, "rendering": 1})
    player.finish(delivery, render)
    wait_for(lambda: player.show(job).counts == {"ready": 8, "done": 1})
    player.requester.ask(jobs.Change(job=job, action="resume"), jobs.ShownJob)
    for _ in range(8):
        player.finish(*player.next_frame())
    player.news_of(job, lambda news: news.state == "done")


def test_a_higher_priority_passes_what_already_stands_in_the_queue(player: Player) -> None:
    player.work(room=1)
    low = player.submit("1-9").job
    first = player.next_frame()
    high = player.submit("1-2").job
    player.requester.ask(jobs.Change(job=high, action="priority", priority=90), jobs.ShownJob)
    wait_for(lambda: player.show(high).counts.get("queued", 0) == 2)
    player.finish(*first)
    following = []
    for _ in range(2):
        delivery, render = player.next_frame()
        following.append(render.job)
        player.finish(delivery, render)
    assert following == [high, high]
    assert low != high


def test_a_cancelled_job_is_called_off_everywhere(player: Player) -> None:
    player.work(room=1)
    job = player.submit("1-9").job
    player.next_frame()
    info = player.requester.ask(jobs.Change(job=job, action="cancel"), jobs.ShownJob).job
    assert (info.state, info.counts) == ("cancelled", {"cancelled": 9})
    with pytest.raises(Conflict):
        player.requester.ask(jobs.Change(job=job, action="pause"), jobs.ShownJob)


def test_a_failed_frame_keeps_its_reason_and_its_log(player: Player) -> None:
    player.work()
    job = player.submit("1").job
    delivery, render = player.next_frame()
    reason = "scene.pov line 3: Parse Error"
    player.tell(Failed(**attempt_at(render), seconds=0.1, log=b"log", reason=reason, permanent=True))  # type: ignore[arg-type]
    player.link.acknowledge(delivery)
    wait_for(lambda: player.show(job).state == "failed")
    [frame] = player.requester.ask(jobs.ListFrames(job=job), jobs.Frames).frames
    [attempt] = player.requester.ask(jobs.ListAttempts(job=job, frame=1), jobs.Attempts).attempts
    assert (frame.reason, attempt.log) == (reason, b"log")


def test_a_restarted_server_goes_on_where_it_was(player: Player, server: RunningServer) -> None:
    job = player.submit("1-20").job
    player.listen(job)
    player.work(room=2)
    player.finish(*player.next_frame())
    server.stop()
    held = [player.next_frame()]
    player.finish(*held[0])
    server.start()
    player.report(2)
    for _ in range(18):
        player.finish(*player.next_frame())
    player.news_of(job, lambda news: news.state == "done" and news.counts == {"done": 20})


def test_frames_wait_in_the_database_when_the_last_worker_has_ended(player: Player) -> None:
    player.work(room=2)
    job = player.submit("1-9").job
    wait_for(lambda: player.show(job).counts.get("queued", 0) >= 2)
    player.link.cancel("frames")
    player.report(state="ended")
    assert "no worker" in player.show(job).error
