"""What belongs to a job, under its references: files and results by id, fetched whole, alone, or in pieces."""

from __future__ import annotations

import hashlib
import os
import signal
import tarfile
from pathlib import Path

import pytest
from farm_processes import FarmProcesses

from distren import failpoints
from distren.client.scratch import NAME

SCENE = """
#version 3.7;
global_settings { assumed_gamma 1.0 }
camera { location <0, 1, -4> look_at <0, 0.5, 0> }
light_source { <2, 4, -3> rgb 1 }
sphere { <clock, 0.5, 0>, 0.5 pigment { rgb <1, 0.4, 0.1> } }
"""
MIB = 2**20
ENDINGS = ("tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "ball.pov"
    path.write_text(SCENE)
    return path


def rendered(farm: FarmProcesses, scene: Path, *flags: str) -> str:
    command = farm.distren("submit", str(scene), "-f", "1-6", "-s", "65x49", "--wait", "--json", *flags)
    assert command.code == 0, command.err
    return str(command.json["job"])


@pytest.fixture(scope="module")
def finished(farm: FarmProcesses, scene: Path) -> str:
    """The number of a job of six frames that is done."""
    return rendered(farm, scene)


FORMS = (
    "{job}",
    "0{job}",
    "alpha/{job}",
    "distren://alpha/{job}",
    "distren://ALPHA/{job}/",
    "distren://alpha/job/{job}",
)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_reference_works_for_every_kind(farm: FarmProcesses, finished: str, form: str) -> None:
    job = form.format(job=finished).rstrip("/")
    url = f"distren://alpha/{finished}"
    for suffix, expected in (("", url), ("/frame/3", f"{url}/frame/3"), ("/file/1", f"{url}/file/1")):
        command = farm.distren("show", job + suffix, "--json")
        assert command.code == 0, command.err
        assert command.json["url"] == expected


def test_a_server_has_a_reference_too(farm: FarmProcesses, finished: str) -> None:
    for reference in ("distren://alpha/", "distren://Alpha", "alpha"):
        assert farm.distren("show", reference, "--json").json["server"] == "alpha"
        assert farm.distren("status", reference, "--json").json["server"] == "alpha"


@pytest.mark.parametrize("command", ["show", "status", "frames", "files", "cancel", "retry", "pause", "watch"])
def test_a_reference_to_another_server_is_refused_by_name(farm: FarmProcesses, finished: str, command: str) -> None:
    refused = farm.distren(command, f"distren://beta/job/{finished}")
    assert refused.code == 4
    assert "no server 'beta' here: 'alpha' answers" in refused.err
    assert refused.err.count("\n") == 1


def test_every_command_takes_the_references_that_mean_something_to_it(farm: FarmProcesses, finished: str) -> None:
    job = f"distren://alpha/job/{finished}"
    assert len(farm.distren("frames", job, "--json").json) == 6
    assert [one["frame"] for one in farm.distren("frames", f"{job}/frame/2", "--json").json] == [2]
    assert "Persistence of Vision" in farm.distren("logs", f"{job}/frame/3").out
    assert farm.distren("priority", job, "60").code in (0, 8)  # a job that has ended has none
    for command in ("watch", "pause", "files"):
        refused = farm.distren(command, f"{job}/frame/3")
        assert (refused.code, f"write {finished}" in refused.err) == (3, True)
    assert farm.distren("show", f"{job}/frame/77").code == 4
    assert farm.distren("show", f"{job}/file/77").code == 4
    assert farm.distren("files", "99999").code == 4
    assert farm.distren("retry", f"{job}/frame/3", "-f", "1").code == 3


def test_files_are_listed_by_id_and_each_can_be_fetched_alone(
    farm: FarmProcesses, finished: str, scene: Path, tmp_path: Path
) -> None:
    listed = farm.distren("files", finished, "--json").json
    inputs = [one for one in listed if one["kind"] == "input"]
    assert [(one["file"], one["path"]) for one in inputs] == [(0, "ball.pov"), (1, "distrenjob.xml")]
    assert [one["file"] for one in listed] == sorted({one["file"] for one in listed})
    kinds = [one["kind"] for one in listed]
    assert {kind: kinds.count(kind) for kind in kinds} == {"input": 2, "bundle": 1, "output": 6, "log": 6}
    assert sorted(one["frame"] for one in listed if one["kind"] == "output") == [1, 2, 3, 4, 5, 6]
    command = farm.distren("fetch", inputs[0]["url"], "-o", "copy.pov", "--json", cwd=tmp_path)
    assert command.code == 0, command.err
    assert (tmp_path / "copy.pov").read_text() == SCENE
    assert command.json["received"] == len(SCENE)
    assert farm.distren("fetch", f"{finished}/file/1", "-o", "in/", cwd=tmp_path).code == 0
    assert (tmp_path / "in" / "distrenjob.xml").read_text().startswith("<?xml")
    for one in (one for one in listed if one["kind"] in ("output", "log") and one["frame"] == 3):
        target = tmp_path / "in" / Path(one["path"]).name
        assert farm.distren("fetch", one["url"], "-o", "in", cwd=tmp_path).code == 0
        assert (hashlib.sha256(target.read_bytes()).hexdigest(), target.stat().st_size) == (one["sha256"], one["size"])
        assert farm.distren("show", one["url"], "--json").json["url"] == one["url"]
    bundle = next(one for one in listed if one["kind"] == "bundle")
    assert farm.distren("fetch", bundle["url"], "-o", "in/", cwd=tmp_path).code == 0
    with tarfile.open(tmp_path / "in" / "bundle.tar") as tarball:
        assert len(tarball.getnames()) == 6
    assert farm.distren("fetch", f"{finished}/frame/3", "-o", "three", cwd=tmp_path).code == 0
    assert [path.name for path in (tmp_path / "three").iterdir()] == ["ball3.png"]
    assert farm.distren("fetch", f"{finished}/file/1", "-o", "x", "--partial", cwd=tmp_path).code == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.pov", "in", "three"]
    assert "ball.pov" in farm.distren("files", finished).out
    assert farm.distren("files", finished, "--kind", "log", "--json").json[0]["kind"] == "log"


def test_a_retry_makes_new_files_and_leaves_those_of_before(farm: FarmProcesses, scene: Path, tmp_path: Path) -> None:
    job = rendered(farm, scene)
    before = farm.distren("files", job, "--json").json
    assert farm.distren("retry", f"{job}/frame/2").code == 0
    assert farm.distren("watch", job).code == 0
    after = farm.distren("files", job, "--json").json
    assert after[: len(before)] == before
    assert [(one["kind"], one["frame"], one["attempt"]) for one in after[len(before) :]] == [
        ("output", 2, 2),
        ("log", 2, 2),
    ]
    old = next(one for one in before if one["kind"] == "output" and one["frame"] == 2)
    assert farm.distren("fetch", old["url"], "-o", "old.tar", cwd=tmp_path).code == 0
    assert hashlib.sha256((tmp_path / "old.tar").read_bytes()).hexdigest() == old["sha256"]


def test_a_deleted_job_is_gone_and_its_number_is_not_given_again(farm: FarmProcesses, scene: Path) -> None:
    job = rendered(farm, scene)
    command = farm.distren("delete", job)
    assert (command.code, f"job {job} is deleted" in command.out) == (0, True)
    for words in (
        ["show", job],
        ["files", job],
        ["frames", job],
        ["fetch", f"{job}/file/0", "-o", "x"],
        ["delete", job],
    ):
        assert farm.distren(*words).code == 4
    assert int(job) not in [one["job"] for one in farm.distren("jobs", "--all", "--json").json]
    assert int(rendered(farm, scene)) > int(job)


def test_bundles_of_equal_results_are_equal(farm: FarmProcesses, scene: Path, tmp_path: Path) -> None:
    # POV-Ray writes the time into PNG and PPM, and nothing but pixels into BMP
    jobs = [rendered(farm, scene, "--set", "format=bmp") for _ in range(2)]
    for ending in ENDINGS:
        bundles = []
        for fetch, job in enumerate([*jobs, jobs[0]]):
            command = farm.distren("fetch", job, "-o", f"{fetch}.{ending}", "--frames", "2-5", cwd=tmp_path)
            assert command.code == 0, command.err
            bundles.append((tmp_path / f"{fetch}.{ending}").read_bytes())
        assert bundles[0] == bundles[1] == bundles[2]


def test_pack_makes_a_tarball_that_submit_takes(farm: FarmProcesses, scene: Path, tmp_path: Path) -> None:
    for ending in ENDINGS:
        for name in ("one", "two"):
            command = farm.distren(
                *("pack", str(scene), "-f", "1-3", "-s", "64x48", "-o", f"{name}.{ending}", "--json"), cwd=tmp_path
            )
            assert command.code == 0, command.err
        assert (tmp_path / f"one.{ending}").read_bytes() == (tmp_path / f"two.{ending}").read_bytes()
        assert farm.distren("validate", f"one.{ending}", cwd=tmp_path).code == 0
    command = farm.distren("submit", "one.tar.zst", "--json", cwd=tmp_path)
    assert command.code == 0, command.err
    assert (command.json["frames"], command.json["name"]) == (3, "ball")
    farm.distren("cancel", f"{command.json['job']}/frame/2")
    farm.distren("cancel", str(command.json["job"]))


# -- what has arrived does not travel again --


def seed_with(scene: Path, folder: Path, files: int, size: int) -> Path:
    folder.mkdir()
    (folder / "ball.pov").write_text(scene.read_text())
    for number in range(files):
        (folder / f"texture-{number}.bin").write_bytes(os.urandom(size))
    return folder


def submit(farm: FarmProcesses, folder: Path) -> list[str]:
    return ["submit", str(folder), "-f", "1", "-s", "64x48", "--pool", "nobody"]


def test_a_resubmitted_job_sends_what_has_changed_and_says_so(farm: FarmProcesses, scene: Path, tmp_path: Path) -> None:
    folder = seed_with(scene, tmp_path / "seed", 10, 2 * MIB)
    first = farm.distren(*submit(farm, folder), "--json").json
    assert first["uploaded"] > 20 * MIB
    (folder / "texture-3.bin").write_bytes(os.urandom(10_000))
    again = farm.distren(*submit(farm, folder))
    assert again.code == 0, again.err
    assert "KiB sent, 18.0 MiB known to the server" in again.out
    (folder / "texture-4.bin").write_bytes(os.urandom(10_000))
    once_more = farm.distren(*submit(farm, folder), "--json").json
    assert 10_000 <= once_more["uploaded"] < 20_000
    assert once_more["known"] > 16 * MIB


def killed_at(farm: FarmProcesses, arguments: list[str], point: str, folder: Path) -> None:
    """Run a command that is killed, hard, at a failpoint."""
    command = farm.distren(*arguments, cwd=folder, **{failpoints.VARIABLE: point})
    assert command.code == -signal.SIGKILL, command.err


def test_an_upload_that_was_killed_goes_on_where_it_was(farm: FarmProcesses, scene: Path, tmp_path: Path) -> None:
    folder = seed_with(scene, tmp_path / "seed", 1, 160 * MIB)
    killed_at(farm, submit(farm, folder), "blob.chunk.send.after:60", tmp_path)  # 16 pieces may be on their way
    command = farm.distren(*submit(farm, folder), "--json")
    assert command.code == 0, command.err
    assert command.json["uploaded"] < 122 * MIB
    assert command.json["uploaded"] + command.json["known"] > 160 * MIB


@pytest.fixture(scope="module")
def large(farm: FarmProcesses, scene: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job with a file of 160 MiB, which stands for a large result as well: both are blobs."""
    folder = seed_with(scene, tmp_path_factory.mktemp("large") / "seed", 1, 160 * MIB)
    command = farm.distren(*submit(farm, folder), "--json")
    assert command.code == 0, command.err
    return str(command.json["job"])


def test_a_fetch_of_a_file_that_was_killed_goes_on_where_it_was(
    farm: FarmProcesses, large: str, tmp_path: Path
) -> None:
    reference = f"{large}/file/2"
    killed_at(farm, ["fetch", reference, "-o", "big.bin"], "blob.chunk.write.after:41", tmp_path)
    assert not (tmp_path / "big.bin").exists()
    command = farm.distren("fetch", reference, "-o", "big.bin", "--json", cwd=tmp_path)
    assert command.code == 0, command.err
    assert command.json["bytes"] == 160 * MIB
    assert command.json["received"] <= 120 * MIB
    assert [path.name for path in tmp_path.iterdir()] == ["big.bin"]


@pytest.fixture(scope="module")
def many(farm: FarmProcesses, scene: Path) -> str:
    """A job of 60 frames of 0.9 MB each that is done."""
    command = farm.distren(
        "submit", str(scene), "-f", "1-60", "-s", "640x480", "--set", "format=bmp", "--wait", "--json", timeout=300
    )
    assert command.code == 0, command.err
    return str(command.json["job"])


@pytest.mark.parametrize("target", ["out", "out.tar.gz"])
def test_a_fetch_of_frames_that_was_killed_brings_only_the_rest(
    farm: FarmProcesses, many: str, tmp_path: Path, target: str
) -> None:
    killed_at(farm, ["fetch", many, "-o", target], "blob.store.after:10", tmp_path)
    command = farm.distren("fetch", many, "-o", target, "--json", cwd=tmp_path)
    assert command.code == 0, command.err
    assert command.json["fetched"] == 60
    whole = farm.distren("fetch", many, "-o", f"whole-{target}", "--json", cwd=tmp_path).json
    assert whole["bytes"] == command.json["bytes"]
    assert command.json["received"] < whole["received"]
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(NAME)]
