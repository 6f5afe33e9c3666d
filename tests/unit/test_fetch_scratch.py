"""What a broken fetch leaves behind, and who may go on with it."""

from __future__ import annotations

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
