"""The states of renders that were interrupted, on a disk: one attempt at a time goes on with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from distren.renderers.protocol import Checkpoint as Told
from distren.renderers.protocol import Command
from distren.worker import checkpoints
from distren.worker.checkpoints import Checkpoint

COMMAND = Command(argv=("render",), checkpoint=Told(file="state", arguments=("--go-on",)))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "KEEP_AFTER", 0.0)


def attempt(folder: Path, name: str) -> Checkpoint:
    (folder / name).mkdir()
    return Checkpoint(folder / "kept", "key", COMMAND, folder / name)


def renders(mark: Checkpoint, folder: Path, name: str) -> None:
    (folder / name / "state").write_text("half of it")
    mark.keeping(lambda percent: None)(50.0)


def test_the_next_attempt_goes_on_where_one_was_interrupted(tmp_path: Path) -> None:
    with attempt(tmp_path, "one") as mark:
        assert not mark.goes_on
        renders(mark, tmp_path, "one")
    with attempt(tmp_path, "two") as mark:
        assert mark.goes_on
        assert mark.command.argv == ("render", "--go-on")
        assert (tmp_path / "two" / "state").read_text() == "half of it"
        mark.forget()
    with attempt(tmp_path, "three") as mark:
        assert not mark.goes_on


def test_what_another_attempt_still_renders_is_left_to_it(tmp_path: Path) -> None:
    """Its worker is cut off from the broker: both would write to one file, and a third would go on with that."""
    with attempt(tmp_path, "cut-off") as first:
        renders(first, tmp_path, "cut-off")
        with attempt(tmp_path, "again") as second:
            assert not second.goes_on
            assert second.command is COMMAND
            assert not (tmp_path / "again" / "state").exists()
            renders(second, tmp_path, "again")
    with attempt(tmp_path, "goes on with the first") as third:
        assert third.goes_on
        assert third._kept.samefile(tmp_path / "cut-off" / "state")


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("/etc/passwd")])
def test_what_is_no_file_is_not_kept(tmp_path: Path, make: object) -> None:
    with attempt(tmp_path, "one") as mark:
        assert callable(make)
        make(tmp_path / "one" / "state")
        mark.keeping(lambda percent: None)(50.0)
        assert not mark._kept.exists()
