"""The folders of attempts: empty for each, and used again only where they are as new ones."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from distren.worker.scratch import Scratch


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path, "w")


def inodes(folder: Path) -> set[int]:
    return {folder.stat().st_ino, *(one.stat().st_ino for one in folder.iterdir())}


def is_new(folder: Path) -> bool:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) == ["output", "tmp"] and all(
        one.is_dir() and not one.is_symlink() and one.stat().st_mode & 0o777 == 0o777 & ~_umask()
        for one in (folder, *folder.iterdir())
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_folder_that_held_files_is_empty_and_used_again(scratch: Scratch, tmp_path: Path) -> None:
    first = scratch.make("one")
    before = inodes(first)
    (first / "output" / "picture.png").write_bytes(b"picture")
    (first / "tmp" / "part").write_bytes(b"part")
    (first / "frame.tar").write_bytes(b"tar")
    (first / "tmp" / "link").symlink_to(tmp_path)
    scratch.remove("one")
    second = scratch.make("two")
    assert second.name == "two"
    assert is_new(second)
    assert inodes(second) == before
    assert not first.exists()


def _leaves(*names: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"left")

    return spoil


def _links_output(folder: Path) -> None:
    (folder / "output").rmdir()
    (folder / "output").symlink_to(folder.parents[1] / "others")


SPOILS: dict[str, Callable[[Path], None]] = {
    "a folder in it": _leaves("output/a/b"),
    "something beside": _leaves("beside/it"),
    "a mode of its own": lambda folder: (folder / "output").chmod(0o2755),
    "a mode for nobody": lambda folder: (folder / "tmp").chmod(0),
    "an attribute": lambda folder: os.setxattr(folder / "output", "user.from", b"another frame"),
    "very many files": _leaves(*(f"output/{number:0200}" for number in range(300))),
    "a link in its place": _links_output,
    "nothing any more": shutil.rmtree,
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_nothing_that_a_program_did_to_its_folders_reaches_the_next(
    scratch: Scratch, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "file").write_bytes(b"stays")
    first = scratch.make("one")
    spoil(first)
    scratch.remove("one")
    assert not first.exists()
    second = scratch.make("two")
    assert is_new(second)
    assert os.listxattr(second / "output") == []
    assert (tmp_path / "others" / "file").exists()


def test_a_spare_folder_that_somebody_has_removed_is_made_anew(scratch: Scratch) -> None:
    first = scratch.make("one")
    scratch.remove("one")
    shutil.rmtree(first)
    assert is_new(scratch.make("two"))
