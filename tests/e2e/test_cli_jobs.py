"""The command line on a running farm: submit, follow, look, change, fetch."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import av
import pytest
from farm_processes import FarmProcesses
from waiting import wait_for

from distren.client import seed
from distren.client.wishes import Wishes
from distren.domain import frameset
from distren.tarballs.writer import Member, write_tarball

SCENE = """
#version 3.7;
global_settings { assumed_gamma 1.0 }
camera { location <0, 1, -4> look_at <0, 0.5, 0> }
light_source { <2, 4, -3> rgb 1 }
sphere { <clock, 0.5, 0>, 0.5 pigment { rgb <1, 0.4, 0.1> } }
"""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "ball.pov"
    path.write_text(SCENE)
    return path


@pytest.fixture(scope="module")
def finished(farm: FarmProcesses, scene: Path) -> str:
    """The number of a job of six frames that is done."""
    command = farm.distren("submit", str(scene), "-f", "1-6", "-s", "65x49", "-n", "six", "--wait", "--json")
    assert command.code == 0, command.err
    record = command.json
    assert (record["state"], record["frames"], record["name"], record["server"]) == ("done", 6, "six", "alpha")
    assert record["url"] == f"distren://alpha/{record['job']}"
    return str(record["job"])


def test_submit_waits_fetches_and_makes_a_video(farm: FarmProcesses, scene: Path, tmp_path: Path) -> None:
    command = farm.distren(
        *("submit", str(scene), "--frames", "1-4", "--size", "65x49", "--output", "frames", "--video", "ball.mp4"),
        *("--fps", "2"),
        cwd=tmp_path,
    )
    assert command.code == 0, command.err
    assert command.err == ""
    assert "4 frames and a video" in command.out.splitlines()[0]
    assert len(list((tmp_path / "frames").iterdir())) == 4
    with av.open(str(tmp_path / "ball.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.codec_context.name, stream.frames, stream.width, stream.height) == ("h264", 4, 66, 50)
        assert float(video.duration or 0) / av.time_base == pytest.approx(2.0)


def test_files_that_the_server_has_do_not_travel_again(farm: FarmProcesses, scene: Path, finished: str) -> None:
    command = farm.distren("submit", str(scene), "-f", "1-6", "-s", "65x49", "-n", "six", "--json")
    assert command.code == 0, command.err
    assert command.json["uploaded"] == 0
    farm.distren("cancel", str(command.json["job"]))  # it may be done by now


@pytest.mark.parametrize("reference", ["{}", "alpha/{}", "distren://alpha/{}", "distren://ALPHA/job/0{}/"])
def test_a_job_has_several_names(farm: FarmProcesses, finished: str, reference: str) -> None:
    command = farm.distren("status", reference.format(finished), "--json")
    assert command.code == 0, command.err
    assert command.json["job"] == int(finished)
    assert command.json["counts"] == {"done": 6}


def test_a_bundle_and_a_folder_hold_the_same(farm: FarmProcesses, finished: str, tmp_path: Path) -> None:
    assert farm.distren("fetch", finished, "-o", str(tmp_path / "out")).code == 0
    assert farm.distren("fetch", finished, "-o", str(tmp_path / "out.tar")).code == 0
    with tarfile.open(tmp_path / "out.tar") as archive:
        bundled = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    assert bundled == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert list(bundled) == sorted(bundled)
    again = tmp_path / "again.tar"
    assert farm.distren("fetch", finished, "-o", str(again)).code == 0
    assert again.read_bytes() == (tmp_path / "out.tar").read_bytes()


def test_some_frames_can_be_fetched(farm: FarmProcesses, finished: str, tmp_path: Path) -> None:
    command = farm.distren("fetch", finished, "-o", str(tmp_path / "out"), "--frames", "2,5", "--by-frame", "--json")
    assert command.code == 0, command.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["frame-2", "frame-5"]
    assert farm.distren("fetch", finished, "-o", str(tmp_path / "out"), "--frames", "7").code == 4


def test_frames_logs_and_workers_are_shown(farm: FarmProcesses, finished: str) -> None:
    frames = farm.distren("frames", finished, "--json").json
    assert [(frame["frame"], frame["state"], frame["worker"]) for frame in frames] == [
        (number, "done", "render-1") for number in range(1, 7)
    ]
    log = farm.distren("logs", f"{finished}/frame/3")
    assert log.code == 0
    assert "Persistence of Vision" in log.out
    attempts = farm.distren("logs", f"{finished}/frame/3", "--list", "--json").json
    assert [attempt["state"] for attempt in attempts][-1] == "done"
    (worker,) = farm.distren("workers", "--json").json
    assert worker["worker"] == "render-1"
    assert "povray" in worker["renderers"]


def test_logs_are_followed_to_the_end_of_the_frame(farm: FarmProcesses, scene: Path, finished: str) -> None:
    followed = farm.distren("logs", "-f", f"{finished}/frame/3")
    assert followed.code == 0, followed.err
    assert followed.out == farm.distren("logs", f"{finished}/frame/3").out
    assert "attempt 1 at frame 3" in followed.err
    assert followed.err.splitlines()[-1] == "distren: attempt 1 is done"
    assert farm.distren("logs", "-f", "--list", f"{finished}/frame/3").code == 3
    job = str(farm.distren("submit", str(scene), "-f", "1", "-s", "64x48", "--pool", "night", "--json").json["job"])
    farm.start("main", "logs", "-f", f"{job}/frame/1", name="follower")
    wait_for(lambda: "frame 1 of job" in farm.log("follower"), 60)
    assert "waits: no worker of pool 'night'" in farm.log("follower")
    assert farm.distren("cancel", job).code == 0
    assert farm.running.pop("follower").wait(60) == 0


def test_attempts_say_what_they_used_and_nothing_warns_of_a_good_picture(farm: FarmProcesses, finished: str) -> None:
    (attempt,) = farm.distren("logs", f"{finished}/frame/3", "--list", "--json").json
    assert attempt["memory"] > 1_000_000
    assert attempt["processor"] > 0
    assert farm.distren("show", f"{finished}/frame/3", "--json").json["warning"] is None
    assert "MiB" in farm.distren("show", f"{finished}/frame/3").out


def test_a_black_picture_is_done_and_warned_of(farm: FarmProcesses, tmp_path: Path) -> None:
    (tmp_path / "dark.pov").write_text("camera { location -z } sphere { 9*z, 1 }")
    job = farm.distren("submit", str(tmp_path / "dark.pov"), "-f", "1", "-s", "8x8", "--wait", "--json").json["job"]
    (frame,) = farm.distren("frames", str(job), "--json").json
    assert (frame["state"], frame["reason"]) == ("done", None)
    assert frame["warning"] == "dark.png is black all over"
    assert "is black all over" in farm.distren("frames", str(job)).out


def test_a_frame_is_shown_in_the_terminal_and_saved(farm: FarmProcesses, finished: str, tmp_path: Path) -> None:
    shown = farm.distren("preview", f"{finished}/frame/3", COLUMNS="40", LINES="30", TERM="xterm")
    assert shown.code == 0, shown.err
    assert "▀" in shown.out
    assert f"/{finished}/frame/3" in shown.out
    saved = farm.distren("preview", finished, "-o", str(tmp_path / "small.png"), "--size", "32", "--json")
    assert saved.code == 0, saved.err
    assert (saved.json["width"], saved.json["height"]) == (32, 24)
    assert (tmp_path / "small.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("command", [["jobs"], ["status"], ["workers"], ["version"]])
def test_people_get_tables_and_programs_get_json(farm: FarmProcesses, finished: str, command: list[str]) -> None:
    for_people, for_programs = farm.distren(*command), farm.distren(*command, "--json")
    assert for_people.code == for_programs.code == 0
    assert for_people.out.strip()
    assert for_programs.json
    with pytest.raises(ValueError):
        json.loads(for_people.out)


def test_watch_prints_one_object_per_line(farm: FarmProcesses, scene: Path) -> None:
    job = farm.distren("submit", str(scene), "-f", "1-4", "-s", "64x48", "--json").json["job"]
    command = farm.distren("watch", str(job), "--json")
    assert command.code == 0, command.err
    states = [json.loads(line)["state"] for line in command.out.splitlines()]
    assert states[-1] == "done"
    assert set(states[:-1]) <= {"active"}


def test_a_paused_job_goes_on_when_it_is_resumed_and_a_cancelled_one_on_retry(farm: FarmProcesses, scene: Path) -> None:
    job = str(farm.distren("submit", str(scene), "-f", "1-30", "-s", "64x48", "--json").json["job"])
    assert farm.distren("pause", job, "--json").json["state"] == "paused"
    assert farm.distren("priority", job, "90", "--json").json["priority"] == 90
    assert "paused" in farm.distren("status", job).out
    assert farm.distren("cancel", job, "--json").json["state"] == "cancelled"
    watched = farm.distren("watch", job)
    assert watched.code == 7
    assert "was cancelled" in watched.err
    assert farm.distren("retry", job, "--frames", "1-2", "--json").code == 0


def test_a_scene_with_a_mistake_ends_with_its_message(farm: FarmProcesses, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pov"
    broken.write_text(SCENE + "\nsphere {\n")
    command = farm.distren("submit", str(broken), "-f", "1-2", "-s", "64x48", "-o", str(tmp_path / "out"))
    assert command.code == 7
    assert "0 of 2 frames" in command.err
    assert not (tmp_path / "out").exists()
    job = command.out.split()[1]
    assert "Parse Error" in farm.distren("frames", job).out
    assert farm.distren("fetch", job, "-o", str(tmp_path / "out")).code == 7
    assert farm.distren("fetch", job, "-o", str(tmp_path / "out"), "--partial").code == 0


def test_a_job_that_nobody_can_render_waits_and_says_so(farm: FarmProcesses, scene: Path) -> None:
    command = farm.distren("submit", str(scene), "-f", "1", "--pool", "night", "--json")
    assert command.code == 0
    assert "no worker of pool 'night' can run 'povray' now" in command.json["warning"]
    assert command.err.count("\n") == 1
    farm.distren("cancel", str(command.json["job"]))


def test_the_old_blocking_form(farm: FarmProcesses, scene: Path, tmp_path: Path) -> None:
    with seed.pack(scene, Wishes(frames=frameset.parse("1-3"), width=64, height=48)) as packed:
        members = [Member(path=path, source=source) for path, source in packed.files.items()]
        with (tmp_path / "job.tar").open("wb") as file:
            write_tarball(file, members)
    command = farm.distren("-i", "job.tar", "-o", "frames.tar", cwd=tmp_path)
    assert command.code == 0, command.err
    with tarfile.open(tmp_path / "frames.tar") as archive:
        assert len(archive.getnames()) == 3
    assert farm.distren("-i", "job.tar", cwd=tmp_path).code == 3
