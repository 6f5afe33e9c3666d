"""Programs that a worker's owner lists: jobs name them, and only workers that list them get the frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from farm_processes import FarmProcesses

CONFIGURATION = """
[commands.copy]
about = "Copies a file"
version = "3"
program = "/bin/cp"
arguments = ["{setting.how}", "{input}", "{output}"]
outputs = ["copy{frame:02}.txt"]
settings.how.choices = ["--no-clobber", "--force"]
settings.how.default = "--force"
settings.word.pattern = "[a-z]+"
"""


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("configuration") / "distren.toml"
    path.write_text(CONFIGURATION)
    return str(path)


@pytest.fixture(scope="module")
def copying(farm: FarmProcesses, configuration: str) -> Iterator[FarmProcesses]:
    farm.start("worker", "--name", "copies", "--renderers", "command", name="copies", DISTREN_CONFIG=configuration)
    farm.await_ready(workers=2)
    yield farm
    farm.stop("copies")


def submit(farm: FarmProcesses, source: Path, *settings: str) -> list[str]:
    flags = [flag for setting in settings for flag in ("--set", setting)]
    return ["submit", str(source), "--renderer", "command", "--frames", "1-2", "--json", *flags]


def test_a_listed_command_renders_where_it_is_listed(copying: FarmProcesses, tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_text("hello")
    arguments = submit(copying, tmp_path / "a b.txt", "name=copy", "setting.how=--no-clobber")
    done = copying.distren(*arguments, "-o", str(tmp_path / "out"))
    assert done.code == 0, done.err + copying.log("copies")
    assert [path.read_text() for path in sorted((tmp_path / "out").iterdir())] == ["hello", "hello"]
    frames = copying.distren("frames", str(done.json["job"]), "--json").json
    assert {frame["worker"] for frame in frames} == {"copies"}
    [worker] = [one for one in copying.distren("workers", "--json").json if one["worker"] == "copies"]
    assert worker["renderers"]["command:copy"] == "3"
    assert worker["queue"] == "frames.default.command:copy-3"


def test_a_command_that_nobody_lists_waits_and_says_so(copying: FarmProcesses, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    handed = copying.distren(*submit(copying, tmp_path / "a.txt", "name=shred"))
    assert handed.code == 0
    assert "can run 'command:shred' now" in handed.json["warning"]
    assert copying.distren("cancel", str(handed.json["job"])).code == 0


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("setting.how=--target=/etc", "setting.how='--target=/etc' can not be used: write --no-clobber, --force"),
        ("setting.who=me", "no worker allows the setting 'setting.who'; there are setting.how, setting.word"),
    ],
)
def test_what_the_owner_does_not_allow_is_refused_at_once(
    copying: FarmProcesses, tmp_path: Path, setting: str, words: str
) -> None:
    (tmp_path / "a.txt").write_text("hello")
    refused = copying.distren(*submit(copying, tmp_path / "a.txt", "name=copy", setting))
    assert refused.code == 3
    assert words in refused.err


def test_a_value_that_breaks_the_owners_pattern_ends_the_frame(copying: FarmProcesses, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    failed = copying.distren(*submit(copying, tmp_path / "a.txt", "name=copy", "setting.word=No1"), "--wait")
    assert failed.code == 7
    [job] = [one for one in copying.distren("jobs", "--json").json if one["state"] == "failed"]
    [frame, _] = copying.distren("frames", str(job["job"]), "--json").json
    assert frame["attempts"] == 1
    assert "setting.word='No1' can not be used" in frame["reason"]


def test_what_a_machine_lists_is_shown(farm: FarmProcesses, configuration: str) -> None:
    shown = farm.distren("renderers", "command", "--json", DISTREN_CONFIG=configuration).json
    assert (shown["version"], shown["missing"]) == ("copy", None)
    assert farm.distren("renderers", "command", "--json").json["version"] is None
