"""What a program leaves behind: images are decoded, and only whole ones of the right size count."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy
import OpenImageIO
import pytest

from distren.renderers.protocol import AttemptFailed, Command, ExpectedFile, Trouble
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
    blob = outputs.pack(expecting("a.png"), folder, tmp_path / "frame.tar")
    assert blob.size == (tmp_path / "frame.tar").stat().st_size
    with tarfile.open(tmp_path / "frame.tar") as tarball:
        assert tarball.getnames() == ["a.png"]
    assert outputs.pack(expecting("a.png"), folder, tmp_path / "again.tar") == blob
