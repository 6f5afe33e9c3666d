"""What a program leaves behind: images are decoded, and only whole ones of the right size count."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy
import OpenImageIO
import pytest

from distren.domain.job import Blob
from distren.renderers.protocol import AttemptFailed, Command, ExpectedFile, Trouble
from distren.wire.frames import INLINE
from distren.worker import outputs
from distren.worker.process import Outcome


def picture(path: Path, width: int, height: int) -> None:
    noise = numpy.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=numpy.uint8)
    target = OpenImageIO.ImageOutput.create(str(path))
    target.open(str(path), OpenImageIO.ImageSpec(width, height, 3, "uint8"))
    target.write_image(noise)
    target.close()


def expecting(name: str, width: int | None = None, height: int | None = None) -> Command:
    file = ExpectedFile(name=name, image=True, width=width, height=height)
    return Command(argv=("/usr/bin/render",), outputs=(file,))


GOOD = Outcome(status=0, trouble=None, seconds=1.0, log=b"")


@pytest.mark.parametrize("ending", ["png", "jpg", "exr"])
def test_a_whole_image_of_the_right_size_passes_and_a_cut_one_does_not(tmp_path: Path, ending: str) -> None:
    name = f"a.{ending}"
    path = tmp_path / name
    picture(path, 64, 48)
    outputs.check(expecting(name, 64, 48), tmp_path, GOOD)
    outputs.check(expecting(name), tmp_path, GOOD)
    with pytest.raises(AttemptFailed, match="64x48 pixels instead of 64x50"):
        outputs.check(expecting(name, 64, 50), tmp_path, GOOD)
    data = path.read_bytes()
    for kept in (len(data) * 3 // 4, len(data) // 2, 10):
        path.write_bytes(data[:kept])
        with pytest.raises(AttemptFailed, match=f"a.{ending} by render is"):
            outputs.check(expecting(name), tmp_path, GOOD)


def test_a_good_exit_code_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(AttemptFailed, match=r"did not write a\.png"):
        outputs.check(expecting("a.png"), tmp_path, GOOD)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(AttemptFailed, match=r"a\.png is empty"):
        outputs.check(expecting("a.png"), tmp_path, GOOD)
    (tmp_path / "a.png").write_bytes(b"no picture at all")
    with pytest.raises(AttemptFailed, match=r"a\.png by render is no image"):
        outputs.check(expecting("a.png"), tmp_path, GOOD)
    (tmp_path / "a.png").unlink()
    (tmp_path / "a.png").symlink_to("/etc/passwd")
    with pytest.raises(AttemptFailed, match="no regular file"):
        outputs.check(expecting("a.png"), tmp_path, GOOD)


def flat(path: Path, *values: float, kind: str = "uint8") -> None:
    """A picture that has the same colour all over."""
    pixels = numpy.full((4, 6, len(values)), values, dtype={"uint8": numpy.uint8, "float": numpy.float32}[kind])
    target = OpenImageIO.ImageOutput.create(str(path))
    spec = OpenImageIO.ImageSpec(6, 4, len(values), kind)
    target.open(str(path), spec)
    target.write_image(pixels)
    target.close()


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        ((0, 0, 0), "uint8", "a.exr is black all over"),
        ((0, 0, 0, 1), "float", "a.exr is black all over"),
        ((1, 1, 1, 0), "float", "a.exr is empty: all of it is transparent"),
        ((1, float("nan"), 1), "float", "a.exr holds pixels that are no numbers (NaN or infinite)"),
        ((1, 0, 0), "float", None),
        ((0, 0, 1, 1), "float", None),
    ],
)
def test_a_picture_that_shows_nothing_is_told_and_does_not_fail(
    tmp_path: Path, values: tuple[float, ...], kind: str, said: str | None
) -> None:
    flat(tmp_path / "a.exr", *values, kind=kind)
    assert outputs.check(expecting("a.exr"), tmp_path, GOOD) == (() if said is None else (said,))


def test_an_image_must_have_the_channels_that_are_expected(tmp_path: Path) -> None:
    flat(tmp_path / "a.png", 9, 9, 9)
    file = ExpectedFile(name="a.png", image=True, channels=4)
    with pytest.raises(AttemptFailed, match="3 channels instead of 4"):
        outputs.check(Command(argv=("render",), outputs=(file,)), tmp_path, GOOD)


def test_trouble_of_a_run_is_passed_on_with_its_permanence(tmp_path: Path) -> None:
    outcome = Outcome(status=1, trouble=Trouble("line 3: no", permanent=True), seconds=1.0, log=b"")
    with pytest.raises(AttemptFailed, match="line 3: no") as caught:
        outputs.check(expecting("a.png"), tmp_path, outcome)
    assert caught.value.permanent


def test_the_frame_tarball_holds_the_expected_files(tmp_path: Path) -> None:
    folder = tmp_path / "output"
    folder.mkdir()
    picture(folder / "a.png", 8, 8)
    (folder / "scratch").write_text("not wanted")
    blob, data = outputs.pack(expecting("a.png"), folder, tmp_path / "frame.tar")
    assert isinstance(data, bytes)
    assert blob == Blob(digest=hashlib.sha256(data).hexdigest(), size=len(data))
    assert not (tmp_path / "frame.tar").exists()
    with tarfile.open(fileobj=io.BytesIO(data)) as tarball:
        assert tarball.getnames() == ["a.png"]
    assert outputs.pack(expecting("a.png"), folder, tmp_path / "again.tar") == (blob, data)


@pytest.mark.parametrize("size", [INLINE + 1, INLINE])  # with its header the latter is too large as well
def test_a_frame_tarball_that_does_not_fit_into_its_event_is_a_file(tmp_path: Path, size: int) -> None:
    (tmp_path / "a").write_bytes(bytes(size))
    command = Command(argv=("render",), outputs=(ExpectedFile(name="a"),))
    blob, file = outputs.pack(command, tmp_path, tmp_path / "frame.tar")
    assert file == tmp_path / "frame.tar"
    data = file.read_bytes()
    assert blob == Blob(digest=hashlib.sha256(data).hexdigest(), size=len(data))
    assert blob.size > INLINE
