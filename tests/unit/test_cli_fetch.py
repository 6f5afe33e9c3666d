"""Results laid into a folder or a tarball: complete or not at all, and the same bytes each time."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from distren.client import fetch
from distren.client.results import Results
from distren.errors import OutputError, TransferError
from distren.tarballs.reader import read_tarball
from distren.tarballs.writer import Member, write_tarball
from distren.wire.fields import Blob
from distren.wire.jobs import FrameInfo


class Stored(Results):
    """Results that lie here already: frame tarballs by frame."""

    def __init__(self, folder: Path) -> None:
        super().__init__("amqp://nowhere/")
        self._folder = folder
        self.tarballs: dict[int, Path] = {}
        self.breaks_after: int | None = None
        self.asked: list[int] = []

    def add(self, frame: int, files: dict[str, bytes]) -> FrameInfo:
        path = self._folder / f"{frame}.tar"
        with path.open("wb") as file:
            write_tarball(file, [Member(path=name, source=data) for name, data in files.items()])
        self.tarballs[frame] = path
        data = path.read_bytes()
        blob = Blob(digest=hashlib.sha256(data).hexdigest(), size=len(data))
        return FrameInfo(
            frame=frame, state="done", attempts=1, worker="w", started=1.0, ended=2.0, percent=100.0, result=blob
        )

    def brought(
        self,
        frames: Sequence[FrameInfo],
        folder: Path,
        *,
        keep: bool = False,
        on_bytes: Callable[[int], None] | None = None,
    ) -> Iterator[tuple[FrameInfo, Path]]:
        for count, frame in enumerate(frames):
            if count == self.breaks_after:
                raise TransferError("the rest did not arrive")
            self.asked.append(frame.frame)
            yield frame, self.tarballs[frame.frame]


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    folder = tmp_path / "stored"
    folder.mkdir()
    return Stored(folder)


def bring(stored: Stored, frames: Sequence[FrameInfo], target: Path, *, by_frame: bool = False) -> fetch.Fetched:
    return fetch.fetch(stored, frames, target, by_frame=by_frame, on_frame=None)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_are_laid_into_a_folder_that_is_made_for_them(stored: Stored, tmp_path: Path) -> None:
    frames = [stored.add(1, {"a1.png": b"one"}), stored.add(2, {"a2.png": b"two", "depth/a2.exr": b"far"})]
    target = tmp_path / "new" / "out"
    fetched = bring(stored, frames, target)
    assert files_of(target) == {"a1.png": b"one", "a2.png": b"two", "depth/a2.exr": b"far"}
    assert fetched.files == {1: [Path("a1.png")], 2: [Path("a2.png"), Path("depth/a2.exr")]}
    assert fetched.bytes == 9
    assert sorted(path.name for path in target.iterdir()) == ["a1.png", "a2.png", "depth"]


def test_a_file_that_is_there_already_is_kept(stored: Stored, tmp_path: Path) -> None:
    frames = [stored.add(1, {"a.png": b"same"}), stored.add(2, {"b.png": b"new"})]
    (tmp_path / "a.png").write_bytes(b"same")
    (tmp_path / "b.png").write_bytes(b"old")
    before = (tmp_path / "a.png").stat().st_ino
    bring(stored, frames, tmp_path)
    assert (tmp_path / "a.png").stat().st_ino == before
    assert (tmp_path / "b.png").read_bytes() == b"new"


def test_a_fetch_that_breaks_off_leaves_whole_files_and_goes_on_from_there(stored: Stored, tmp_path: Path) -> None:
    frames = [stored.add(number, {f"a{number}.png": b"x" * number}) for number in (1, 2, 3)]
    stored.breaks_after = 2
    with pytest.raises(TransferError):
        bring(stored, frames, tmp_path / "out")
    seen = {path: data for path, data in files_of(tmp_path / "out").items() if not path.startswith(".")}
    assert seen == {"a1.png": b"x", "a2.png": b"xx"}
    with pytest.raises(TransferError):
        bring(stored, frames, tmp_path / "out.tar")
    assert not (tmp_path / "out.tar").exists()
    stored.breaks_after = None
    stored.asked.clear()
    (tmp_path / "out" / "a2.png").write_bytes(b"yy")
    fetched = bring(stored, frames, tmp_path / "out")
    assert stored.asked == [2, 3]
    assert list(fetched.files) == [1, 2, 3]
    assert files_of(tmp_path / "out") == {"a1.png": b"x", "a2.png": b"xx", "a3.png": b"xxx"}
    bring(stored, frames, tmp_path / "out.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.tar", "stored"]


def test_frames_that_hold_the_same_name_are_refused_with_a_way_out(stored: Stored, tmp_path: Path) -> None:
    frames = [stored.add(1, {"image.png": b"one"}), stored.add(2, {"image.png": b"two"})]
    with pytest.raises(OutputError, match=r"frames 1 and 2 both hold a file 'image.png'.*--by-frame"):
        bring(stored, frames, tmp_path / "out")
    bring(stored, frames, tmp_path / "out", by_frame=True)
    assert files_of(tmp_path / "out") == {
        "image.png": b"one",
        "frame-1/image.png": b"one",
        "frame-2/image.png": b"two",
    }


def test_equal_results_of_several_frames_are_laid_down_once(stored: Stored, tmp_path: Path) -> None:
    frames = [stored.add(1, {"image.png": b"one"}), stored.add(2, {"image.png": b"one"})]
    fetched = bring(stored, frames, tmp_path / "out")
    assert fetched.files == {1: [Path("image.png")], 2: [Path("image.png")]}
    bring(stored, frames, tmp_path / "out.tar")
    with tarfile.open(tmp_path / "out.tar") as archive:
        assert archive.getnames() == ["image.png"]


@pytest.mark.parametrize("ending", fetch.BUNDLES)
def test_a_bundle_holds_its_members_in_frame_order(stored: Stored, tmp_path: Path, ending: str) -> None:
    frames = [stored.add(number, {f"a{number}.png": bytes([number]) * 999}) for number in (2, 5, 200)]
    target = tmp_path / f"bundle{ending}"
    bring(stored, frames, target)
    assert [entry.path for entry in read_tarball(target)] == ["a2.png", "a5.png", "a200.png"]
    first = target.read_bytes()
    bring(stored, frames, target)
    assert target.read_bytes() == first


def test_a_large_member_of_a_bundle_goes_over_the_disk(
    stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_IN_MEMORY", 10)
    bring(stored, [stored.add(1, {"a.exr": b"x" * 5000, "b.exr": b"y" * 3000})], tmp_path / "out.tar")
    with tarfile.open(tmp_path / "out.tar") as archive:
        assert {member.name: member.size for member in archive} == {"a.exr": 5000, "b.exr": 3000}


def test_a_target_that_can_not_be_written_is_told_before_anything_is_done(stored: Stored, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for target in (file, file / "out", file / "out.tar", Path("/proc/out"), Path("/proc/out.tar")):
        with pytest.raises(OutputError, match=str(target)):
            fetch.check_writable(target)
    fetch.check_writable(tmp_path / "not" / "yet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "stored"]


def test_a_folder_where_a_file_belongs_is_told(stored: Stored, tmp_path: Path) -> None:
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"a\.png is a folder"):
        bring(stored, [stored.add(1, {"a.png": b"x"})], tmp_path / "out")
