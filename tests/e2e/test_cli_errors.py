"""Bad input: each mistake gives one line that says what is wrong and its exit code, and leaves nothing behind."""

from __future__ import annotations

import io
import os
import tarfile
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from farm_processes import Command, FarmProcesses

from distren.broker import ports

SCENE = """
#version 3.7;
global_settings { assumed_gamma 1.0 }
camera { location <0, 1, -4> look_at <0, 0.5, 0> }
light_source { <2, 4, -3> rgb 1 }
sphere { <0, 0.5, 0>, 0.5 pigment { rgb <1, 0.4, 0.1> } }
"""


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "ball.pov"
    path.write_text(SCENE)
    return path


def number_of_jobs(farm: FarmProcesses) -> int:
    return len(farm.distren("jobs", "--all", "--json").json)


def refused(command: Command, code: int, *words: str) -> None:
    """The command ended with `code` and one line on stderr that holds `words`; nothing is on stdout."""
    assert command.code == code, command.err
    assert command.err.count("\n") == 1, command.err
    assert command.err.startswith("distren")
    assert command.out == ""
    for word in words:
        assert word in command.err


def submit_refused(farm: FarmProcesses, code: int, *arguments: str, words: tuple[str, ...] = ()) -> None:
    before = number_of_jobs(farm)
    refused(farm.distren("submit", *arguments), code, *words)
    assert number_of_jobs(farm) == before


def test_a_missing_scene(farm: FarmProcesses, tmp_path: Path) -> None:
    submit_refused(farm, 3, str(tmp_path / "none.pov"), "--frames", "1-3", words=("none.pov",))


def test_a_missing_include(farm: FarmProcesses, scene: Path) -> None:
    scene.write_text('#include "walls-of-mine.inc"\n' + SCENE)
    submit_refused(farm, 3, str(scene), "--frames", "1-3", words=("walls-of-mine.inc", "ball.pov"))


@pytest.mark.parametrize("frames", ["", " , "])
def test_an_empty_frame_range(farm: FarmProcesses, scene: Path, frames: str) -> None:
    submit_refused(farm, 3, str(scene), "--frames", frames, words=("empty", "1-24"))


def test_a_range_that_ends_before_it_starts(farm: FarmProcesses, scene: Path) -> None:
    submit_refused(farm, 3, str(scene), "--frames", "5-1", words=("5-1", "1-5"))


def test_an_empty_tarball(farm: FarmProcesses, tmp_path: Path) -> None:
    job = tmp_path / "job.tar"
    job.touch()
    submit_refused(farm, 3, str(job), words=("job.tar",))


def tarball(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_a_truncated_tarball(farm: FarmProcesses, tmp_path: Path) -> None:
    job = tarball(tmp_path / "job.tar", {"ball.pov": SCENE.encode() * 200, "distrenjob.xml": b"<job/>"})
    os.truncate(job, 20_000)
    submit_refused(farm, 3, str(job), words=("job.tar", "cut off"))


def test_a_tarball_without_a_job_file(farm: FarmProcesses, tmp_path: Path) -> None:
    job = tarball(tmp_path / "job.tar", {"ball.pov": SCENE.encode()})
    submit_refused(farm, 3, str(job), words=("distrenjob.xml",))


def test_a_renderer_that_nobody_has(farm: FarmProcesses, scene: Path) -> None:
    submit_refused(farm, 10, str(scene), "--frames", "1-3", "--renderer", "mental", words=("mental", "povray"))


@pytest.mark.parametrize("place", ["below a file", "read-only"])
def test_an_output_folder_that_can_not_be_written(farm: FarmProcesses, scene: Path, place: str) -> None:
    output = scene / "out" if place == "below a file" else Path("/proc/distren-out")
    submit_refused(farm, 9, str(scene), "--frames", "1-3", "--output", str(output), words=(str(output),))
    assert not output.exists()


def test_a_video_with_another_ending(farm: FarmProcesses, scene: Path) -> None:
    submit_refused(farm, 3, str(scene), "--frames", "1-3", "--video", str(scene.parent / "x.gif"), words=(".mp4",))


def test_no_broker(farm: FarmProcesses, scene: Path) -> None:
    with ExitStack() as claims:
        closed = ports.pick(claims).amqp
        command = farm.distren("submit", str(scene), "--frames", "1", DISTREN_BROKER=f"amqp://u:p@127.0.0.1:{closed}/")
    refused(command, 5, f"127.0.0.1:{closed}")
    assert "p@" not in command.err


def test_no_broker_was_ever_named(farm: FarmProcesses, tmp_path: Path) -> None:
    empty = tmp_path / "data"
    environment = {"DISTREN_DATA": str(empty), "DISTREN_BROKER": ""}
    refused(farm.distren("jobs", **environment), 5, "distren up", "--broker")
    assert not empty.exists()


def test_a_wrong_password(farm: FarmProcesses) -> None:
    parts = urlsplit(farm.broker_url)
    url = urlunsplit(parts._replace(netloc=f"{parts.username}:wrong@{parts.hostname}:{parts.port}"))
    refused(farm.distren("jobs", "--broker", url), 6, str(parts.username))


def test_a_worker_name_that_is_taken(farm: FarmProcesses, tmp_path: Path) -> None:
    other_host = {"DISTREN_DATA": str(tmp_path / "data")}
    command = farm.distren("--name", "render-1", "--renderers", "povray", program="worker", **other_host)
    assert command.code == 8, command.err
    assert "render-1" in command.err.splitlines()[-1]
    assert "Traceback" not in command.err


def test_a_worker_name_that_is_taken_on_this_host(farm: FarmProcesses) -> None:
    command = farm.distren("--name", "render-1", "--renderers", "povray", program="worker")
    assert command.code == 8, command.err
    assert "render-1" in command.err.splitlines()[-1]


def test_a_server_name_that_is_another(farm: FarmProcesses) -> None:
    command = farm.distren("--server", "beta", program="server")
    assert command.code == 8, command.err
    assert "alpha" in command.err.splitlines()[-1]


def test_a_job_that_is_not_there(farm: FarmProcesses) -> None:
    refused(farm.distren("status", "4711"), 4, "4711")
    refused(farm.distren("fetch", "4711", "-o", "/tmp/none"), 4, "4711")
    assert not Path("/tmp/none").exists()


def test_a_job_of_another_server(farm: FarmProcesses) -> None:
    refused(farm.distren("status", "beta/1"), 4, "beta", "alpha")


@pytest.mark.parametrize("reference", ["-1", "1/2/3", "http://alpha/1", "1.5"])
def test_a_reference_that_names_no_job(farm: FarmProcesses, reference: str) -> None:
    refused(farm.distren("status", "--", reference), 3, reference)


def test_a_command_that_does_not_exist(farm: FarmProcesses) -> None:
    refused(farm.distren("submitt"), 2, "submitt", "--help")
    refused(farm.distren("submit"), 2, "SCENE")


def test_a_database_without_a_schema(farm: FarmProcesses, tmp_path: Path) -> None:
    command = farm.distren(program="server", DISTREN_DATA=str(tmp_path / "data"))
    assert command.code == 12, command.err
    assert "distren db upgrade" in command.err.splitlines()[-1]
