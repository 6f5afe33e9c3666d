"""What a broken fetch leaves behind, and who may go on with it."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from distren.client.scratch import NAME, Journal, scratch, sha256
from distren.errors import DistrenError, OutputError, TransferError


def broken_off(folder: Path, name: str, error: DistrenError, data: bytes = b"half") -> None:
    with scratch(folder, name) as place:
        (place / "part").write_bytes(data)
        raise error


def test_what_has_arrived_stays_where_the_transfer_broke_off(tmp_path: Path) -> None:
    with pytest.raises(TransferError):
        broken_off(tmp_path, "out.tar", TransferError("the rest did not come"))
    with scratch(tmp_path, "out.tar") as again:
        assert again == tmp_path / f"{NAME}-out.tar"
        assert (again / "part").read_bytes() == b"half"
    assert list(tmp_path.iterdir()) == []


def test_nothing_stays_where_going_on_would_not_help(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        broken_off(tmp_path, "", OutputError("the disk is full"))
    with pytest.raises(TransferError):
        broken_off(tmp_path, "", TransferError("nothing came"), b"")
    assert list(tmp_path.iterdir()) == []


def test_two_fetches_into_the_same_target_do_not_share_a_folder(tmp_path: Path) -> None:
    with scratch(tmp_path) as one, scratch(tmp_path) as other:
        assert one != other
        (one / "file").touch()
        assert not (other / "file").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_fetch_begins_while_another_one_removes_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = shutil.rmtree

    def another_begins_now(folder: Path, *, ignore_errors: bool) -> None:
        monkeypatch.undo()
        (folder / "lock").unlink()  # what it may begin with
        next_one = others.enter_context(scratch(tmp_path))
        (next_one / "blobs").mkdir()
        remove(folder, ignore_errors=ignore_errors)
        assert (next_one / "blobs").is_dir()

    with ExitStack() as others, scratch(tmp_path) as place:
        (place / "part").write_bytes(b"part")
        monkeypatch.setattr(shutil, "rmtree", another_begins_now)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_goes_while_it_is_claimed_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = os.mkdir

    def it_is_there_until_now(path: Path, mode: int = 0o777) -> None:
        monkeypatch.undo()
        raise FileExistsError(path)

    monkeypatch.setattr(os, "mkdir", it_is_there_until_now)
    with scratch(tmp_path) as place:
        assert place == tmp_path / NAME
    assert os.mkdir is make


def test_a_journal_tells_of_frames_whose_files_are_still_whole(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"one")
    (tmp_path / "b.png").write_bytes(b"two")
    path = tmp_path / "laid"
    journal = Journal(path, tmp_path)
    for name in ("a", "b"):
        file = tmp_path / f"{name}.png"
        journal.add(name, [(file.name, 3, sha256(file))])
    path.write_bytes(path.read_bytes() + b'{"key": "c", "fi')
    (tmp_path / "b.png").write_bytes(b"new")
    again = Journal(path, tmp_path)
    assert again.files("a") == [("a.png", 3, sha256(tmp_path / "a.png"))]
    assert again.files("b") is None
    assert again.files("c") is None
    (tmp_path / "a.png").unlink()
    assert again.files("a") is None
