"""A farm renders images in tiles and merges them, and makes the video of a job; POV-Ray renders."""

from __future__ import annotations

from pathlib import Path

import av
import numpy
import numpy.typing
import OpenImageIO
import pytest
from farm_processes import FarmProcesses

SCENE = """#version 3.7;
global_settings { assumed_gamma 1.0 }
camera { location <0, 1, -5> look_at 0 right x * image_width / image_height }
light_source { <5, 5, -5> rgb 1 }
plane { y, -1 pigment { checker rgb 1 rgb <0.1, 0.3, 0.8> } }
sphere { <clock, 0, 0>, 1 pigment { rgb <1, 0.3, 0.1> } finish { phong 1 reflection 0.3 } }
"""
SIZE = "63x47"


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    (tmp_path / "scene").mkdir()
    (tmp_path / "scene" / "ball.pov").write_text(SCENE)
    return tmp_path / "scene" / "ball.pov"


def submit(farm: FarmProcesses, scene: Path, out: Path, *flags: str, code: int = 0) -> str:
    """Render the scene's frames 1 to 3 into `out`; the job's number."""
    arguments = ("submit", str(scene), "--frames", "1-3", "--size", SIZE, "--json", "-o", str(out), *flags)
    done = farm.distren(*arguments)
    assert done.code == code, done.err + farm.log("worker")
    return str(farm.distren("jobs", "--json").json[0]["job"])


def pixels(path: Path) -> numpy.typing.NDArray[numpy.float32]:
    picture = OpenImageIO.ImageBuf(str(path))
    assert not picture.has_error, picture.geterror()
    return numpy.asarray(picture.get_pixels(OpenImageIO.FLOAT))


def test_merged_tiles_are_the_untiled_images_pixel_for_pixel(farm: FarmProcesses, scene: Path, tmp_path: Path) -> None:
    job = submit(farm, scene, tmp_path / "tiled", "--tiles", "3x2")
    submit(farm, scene, tmp_path / "whole")
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == ["ball1.png", "ball2.png", "ball3.png"]
    assert names == sorted(path.name for path in (tmp_path / "tiled").iterdir())
    for name in names:
        assert numpy.array_equal(pixels(tmp_path / "tiled" / name), pixels(tmp_path / "whole" / name)), name
    frames = {one["frame"]: one for one in farm.distren("frames", job, "--json").json}
    assert len(frames) == 3 + 3 * 6
    assert (frames[62]["label"], frames[62]["intermediate"]) == ("tile 6", True)
    assert (frames[2]["renderer"], frames[2]["intermediate"]) == ("merge", False)
    alone = farm.distren("fetch", f"{job}/frame/62", "-o", str(tmp_path / "tile"))
    assert alone.code == 0, alone.err
    assert (tmp_path / "tile" / "ball2.png").is_file()


def test_with_antialiasing_only_few_pixels_differ(farm: FarmProcesses, scene: Path, tmp_path: Path) -> None:
    """POV-Ray refines a pixel by what its neighbours in its block are like, and blocks begin where a tile does."""
    flags = ("--set", "antialias=0.1", "--set", "antialias_depth=3", "--set", "format=exr")
    submit(farm, scene, tmp_path / "tiled", "--tiles", "2x2", *flags)
    submit(farm, scene, tmp_path / "whole", *flags)
    differing = numpy.any(pixels(tmp_path / "tiled/ball2.exr") != pixels(tmp_path / "whole/ball2.exr"), axis=2)
    assert numpy.count_nonzero(differing) <= 0.02 * differing.size


def test_the_farm_makes_the_video_and_keeps_it(farm: FarmProcesses, scene: Path, tmp_path: Path) -> None:
    film = tmp_path / "films" / "ball.mp4"
    job = submit(farm, scene, tmp_path / "out", "--video", str(film), "--fps", "4", "--quality", "low")
    assert len(list((tmp_path / "out").iterdir())) == 3
    with av.open(str(film)) as video:
        assert [(one.frames, float(one.average_rate or 0)) for one in video.streams.video] == [(3, 4.0)]
    [made] = [one for one in farm.distren("frames", job, "--json").json if one["renderer"] == "encode"]
    assert (made["frame"], made["label"], made["state"]) == (4, "video", "done")
    again = farm.distren("fetch", job, "-o", str(tmp_path / "all"), "--json")
    assert again.json["fetched"] == 4
    assert (tmp_path / "all" / "ball.mp4").read_bytes() == film.read_bytes()
    brought = farm.distren("fetch", job, "--video", str(tmp_path / "again.mp4"))
    assert brought.code == 0, brought.err
    assert (tmp_path / "again.mp4").read_bytes() == film.read_bytes()


def test_a_video_of_tiles_has_the_merged_images(farm: FarmProcesses, scene: Path, tmp_path: Path) -> None:
    film = tmp_path / "ball.mkv"
    submit(farm, scene, tmp_path / "out", "--tiles", "2x1", "--video", str(film), "--codec", "ffv1")
    with av.open(str(film)) as video:
        shown = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    for number, frame in enumerate(shown, start=1):
        image = (pixels(tmp_path / "out" / f"ball{number}.png") * 255 + 0.5).astype(numpy.uint8)
        assert numpy.array_equal(frame[:47, :63], image)
    assert len(shown) == 3


def test_a_video_that_can_not_be_made_costs_no_frames(farm: FarmProcesses, scene: Path, tmp_path: Path) -> None:
    packed = tmp_path / "job"
    packed.mkdir()
    (packed / "ball.pov").write_text(SCENE)
    (packed / "distrenjob.xml").write_text(
        '<job xmlns="urn:distren:job:1" name="film" renderer="povray"><image width="63" height="47"/>'
        '<frames ids="1-3"/><frames ids="4" renderer="encode">'
        '<settings xmlns="urn:distren:renderer:encode:1" name="ball.mp4" images="*.exr"/></frames>'
        '<needs frames="4" all="frame/1-3"/>'
        '<settings xmlns="urn:distren:renderer:povray:1" scene="ball.pov"/></job>'
    )
    done = farm.distren("submit", str(packed), "-o", str(tmp_path / "out"))
    assert done.code == 7
    assert "the video of job" in done.err
    assert "frame 1 holds no image called '*.exr'" in done.err
    assert len(list((tmp_path / "out").glob("*.png"))) == 3


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--tiles", "4"), "'4' is no grid of tiles"),
        (("--tiles", "64x1", "--size", SIZE), "63x47 pixels can not be divided into 64x1"),
        (("--tiles", "2x2"), "give --size"),
        (("--video", "x.mp4", "--codec", "ffv1"), "can not be written to 'x.mp4'"),
    ],
)
def test_what_can_not_be_done_is_refused_at_once(
    farm: FarmProcesses, scene: Path, flags: tuple[str, ...], complaint: str
) -> None:
    refused = farm.distren("submit", str(scene), "--frames", "1-3", *flags, cwd=scene.parent)
    assert refused.code in (2, 3)
    assert complaint in refused.err
