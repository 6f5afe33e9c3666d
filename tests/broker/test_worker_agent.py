"""What a worker makes of a frame; the test plays the server, and the renderer is a shell."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from waiting import wait_for
from worker_farm import WorkerFarm

from distren.renderers.protocol import Command
from distren.tarballs.reader import read_tarball
from distren.tarballs.writer import Member, write_tarball
from distren.wire import fields
from distren.wire.frames import INLINE, Completed, Failed, Report, Started
from distren.wire.frames import Progress as FrameProgress
from distren.worker import outputs
from distren.worker.process import Outcome


def test_a_frame_is_rendered_from_the_jobs_files_and_its_tarball_comes_with_the_event(farm: WorkerFarm) -> None:
    worker = farm.worker()
    farm.render(3, 'echo "frame $1" >out; cat "$2/input" >>out; echo a line')
    started, completed = farm.next(Started), farm.next(Completed)
    assert (completed.worker, completed.frame, completed.issue) == (worker.name, 3, 1)
    assert completed.token == started.token
    assert completed.tarball is not None
    tarball = farm.folder / "result.tar"
    tarball.write_bytes(completed.tarball)
    assert [(entry.path, entry.open().read()) for entry in read_tarball(tarball)] == [("out", b"frame 3\nof the job")]
    assert zlib.decompress(completed.log) == b"a line\n"


def test_a_frame_finds_the_results_that_it_needs_in_its_working_directory(farm: WorkerFarm) -> None:
    def result(text: bytes) -> tuple[str, int]:
        path = farm.folder / "needed.tar"
        with path.open("wb") as file:
            write_tarball(file, [Member(path="picture", source=text)])
        blob = farm.store.put(path.read_bytes())
        return blob.digest, blob.size

    farm.worker()
    needs = [(1, 3, *result(b"own ")), (5, 2, *result(b"other "))]
    farm.render(9, "cat needs/frame/3/picture needs/5/frame/2/picture >out", needs=needs)
    completed = farm.next(Completed)
    assert completed.tarball is not None
    tarball = farm.folder / "result.tar"
    tarball.write_bytes(completed.tarball)
    assert [(entry.path, entry.open().read()) for entry in read_tarball(tarball)] == [("out", b"own other ")]


def test_the_next_frame_renders_while_the_files_of_the_last_one_are_checked(
    farm: WorkerFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, check = farm.folder / "began", outputs.check

    def once_the_next_has_begun(command: Command, folder: Path, outcome: Outcome) -> tuple[str, ...]:
        if "waits" in command.argv[2]:
            wait_for(began.exists)
        return check(command, folder, outcome)

    farm.worker(sandbox="off")
    farm.render(1, "echo >out")
    farm.next(Completed)  # frames are short, so more of them are held than there are slots
    monkeypatch.setattr(outputs, "check", once_the_next_has_begun)
    farm.render(2, "echo waits >out")
    farm.render(3, f"echo >out; echo >{began}")
    assert {farm.next(Completed).frame, farm.next(Completed).frame} == {2, 3}


def test_a_large_result_is_uploaded_before_it_is_reported(farm: WorkerFarm) -> None:
    farm.worker()
    farm.render(1, f"head -c {INLINE + 1} /dev/urandom >out")
    completed = farm.next(Completed)
    assert completed.tarball is None
    assert farm.store.has(completed.result.digest)
    assert completed.result.size > INLINE


def test_the_same_large_result_again_is_not_sent_again(farm: WorkerFarm) -> None:
    farm.worker()
    for issue in (1, 2):
        farm.render(1, f"head -c {INLINE + 1} /dev/zero >out", issue=issue)
        assert farm.next(Completed).issue == issue


def test_a_failed_frame_is_reported_with_its_reason_and_log(farm: WorkerFarm) -> None:
    farm.worker()
    farm.render(1, "echo bad scene, line 7; exit 1")
    failed = farm.next(Failed)
    assert failed.permanent
    assert "bad scene, line 7" in failed.reason
    assert zlib.decompress(failed.log) == b"bad scene, line 7\n"


def test_a_frame_that_produces_nothing_has_failed_though_the_program_says_otherwise(farm: WorkerFarm) -> None:
    farm.worker()
    farm.render(1, "exit 0")
    failed = farm.next(Failed)
    assert not failed.permanent
    assert "out" in failed.reason


def test_a_frame_over_its_time_limit_is_stopped(farm: WorkerFarm) -> None:
    farm.worker()
    farm.render(1, "sleep 60", time_limit=0.3)
    assert farm.next(Failed).reason == "rendered longer than its limit of 0.3 s"


def test_a_frame_over_another_limit_says_which_and_what_it_used(farm: WorkerFarm) -> None:
    farm.worker()
    farm.render(1, "exec sleep 60", silence_limit=0.3)
    farm.render(2, "while :; do head -c 1000000 /dev/zero >>big; done", output_limit=20_000_000)
    for _ in range(2):
        failed = farm.next(Failed)
        assert failed.reason.startswith("said nothing for 0.3 s" if failed.frame == 1 else "wrote ") or (
            "larger than its limit of 20 MB" in failed.reason
        )
        assert failed.memory > 100_000
        assert failed.processor > 0


def test_the_inputs_of_the_next_frame_are_fetched_while_this_one_renders(farm: WorkerFarm) -> None:
    farm.worker()
    for frame in range(20):  # short frames, so that the worker takes some ahead
        farm.render(frame, "echo x >out")
    farm.next(Report, lambda report: report.room > 1)
    for _ in range(20):
        farm.next(Completed)
    go = farm.folder / "go"
    farm.render(30, f"while [ ! -e {go} ]; do sleep 0.02; done; echo x >out")
    farm.next(Started, lambda started: started.frame == 30)
    other = farm.seed({"distrenjob.xml": b"<job/>", "input": b"of the next job"})
    farm.render(1, 'cat "$2/input" >out', job=2, manifest=fields.Blob.of(other))
    wait_for(lambda: (farm.data / "worker" / "inputs" / other.digest / "input").exists())
    assert not [message for message in farm.kept if isinstance(message, Completed)]
    go.touch()
    assert {farm.next(Completed).job for _ in range(2)} == {1, 2}


def test_a_missing_input_fails_the_frame_but_not_for_good(farm: WorkerFarm) -> None:
    farm.worker()
    farm.render(1, "echo x >out", manifest=fields.Blob(digest="0" * 64, size=5))
    assert not farm.next(Failed).permanent


def test_inputs_are_fetched_once_for_all_workers_and_frames_of_a_host(farm: WorkerFarm) -> None:
    for _ in range(2):
        farm.worker(slots=2)
    for frame in range(6):
        farm.render(frame, 'stat -c %i "$2/input" >out')
    results = {farm.next(Completed).result.digest for _ in range(6)}
    assert len(results) == 1


def test_progress_is_told_and_repeats_are_not(farm: WorkerFarm) -> None:
    farm.worker()
    script = r"sleep 1.1; printf 'percent 1\npercent 2\npercent 3\npercent 4\npercent 5\n'; echo x >out"
    farm.render(1, script)
    farm.next(Completed)
    told = [message.percent for message in farm.kept if isinstance(message, FrameProgress)]
    assert told == [1.0]
