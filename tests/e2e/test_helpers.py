"""The renderers of our own: Mitsuba renders, tiles are merged pixel by pixel, and images become a video."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import av
import numpy
import numpy.typing
import OpenImageIO
import pytest

from distren.renderers import tiles
from distren.renderers.encode import Encode
from distren.renderers.merge import Merge
from distren.renderers.mitsuba import Mitsuba
from distren.renderers.protocol import AttemptFailed, Renderer, Task
from distren.worker import outputs, process
from distren.worker.process import Stop
from distren.worker.sandbox import Mode, Sandbox, View

SANDBOX = Sandbox(mode=Mode.SANDBOX)
Pixels = numpy.typing.NDArray[numpy.float32]
SCENE = """<scene version="3.0.0">
  <default name="frame" value="0"/>
  <integrator type="path"/>
  <sensor type="perspective">
    <transform name="to_world"><lookat origin="0, 1, 5" target="0, 0, 0" up="0, 1, 0"/></transform>
    <film type="hdrfilm"><integer name="width" value="64"/><integer name="height" value="48"/></film>
  </sensor>
  <emitter type="constant"/>
  <shape type="sphere"><point name="center" x="$frame" y="0" z="0"/>
    <bsdf type="diffuse"><texture type="bitmap" name="reflectance"><string name="filename" value="red.png"/></texture>
    </bsdf></shape>
</scene>"""


def run(adapter: Renderer, task: Task) -> list[float]:
    """Render in the sandbox, and check what comes out; the percentages that were told."""
    temporary = task.output.with_name(f"{task.output.name} tmp")
    temporary.mkdir()
    command = adapter.command(task, None)
    told: list[float] = []
    outcome = process.run(
        command,
        sandbox=SANDBOX,
        view=View(folder=task.output, temporary=temporary, readable=(task.inputs, *command.reads)),
        read_line=command.read_line or adapter.read_line,
        on_progress=told.append,
        time_limit=100,
        stop=Stop(),
    )
    outputs.check(command, task.output, outcome)
    return told


def task(
    folder: Path, settings: Mapping[str, str], frame: int = 1, size: tuple[int | None, int | None] = (32, 24)
) -> Task:
    (folder / "inputs").mkdir(exist_ok=True)
    output = folder / f"output {frame}"
    output.mkdir(exist_ok=True)
    return Task(
        frame=frame,
        first=1,
        last=2,
        width=size[0],
        height=size[1],
        settings=settings,
        inputs=folder / "inputs",
        output=output,
    )


def write(path: Path, pixels: numpy.typing.NDArray[numpy.generic], **attributes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    spec = OpenImageIO.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], str(pixels.dtype))
    for name, value in attributes.items():
        spec.attribute(name.replace("__", ":"), value)
    target = OpenImageIO.ImageOutput.create(str(path))
    assert target.open(str(path), spec), target.geterror()
    assert target.write_image(pixels), target.geterror()
    target.close()


def read(path: Path) -> Pixels:
    picture = OpenImageIO.ImageBuf(str(path))
    assert not picture.has_error, picture.geterror()
    return numpy.asarray(picture.get_pixels(OpenImageIO.FLOAT))


# -- Mitsuba -------------------------------------------------------------------------------------------------------


@pytest.fixture
def mitsuba_scene(tmp_path: Path) -> Path:
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "scene.xml").write_text(SCENE)
    write(tmp_path / "inputs" / "red.png", numpy.full((4, 4, 3), (200, 20, 20), numpy.uint8))
    return tmp_path


def test_mitsuba_renders_a_frame_as_exr_and_png(mitsuba_scene: Path) -> None:
    settings = {"scene": "scene.xml", "spp": "4", "seed": "3", "integrator": "path", "max_depth": "3"}
    first = task(mitsuba_scene, settings)
    assert run(Mitsuba(), first)[-1] == 100.0
    light, shown = read(first.output / "scene1.exr"), read(first.output / "scene1.png")
    assert light.shape[:2] == shown.shape[:2] == (24, 32)
    assert light[12, 16, 0] > 2 * light[12, 16, 1]
    (mitsuba_scene / "again").mkdir()
    again = task(mitsuba_scene / "again", settings)
    shutil.copytree(mitsuba_scene / "inputs", again.inputs, dirs_exist_ok=True)
    run(Mitsuba(), again)
    assert numpy.array_equal(light, read(again.output / "scene1.exr")), "the same seed gives the same pixels"
    second = task(mitsuba_scene, {**settings, "format": "png"}, frame=2)
    run(Mitsuba(), second)
    assert not numpy.array_equal(shown, read(second.output / "scene2.png")), "the scene reads the frame's number"


def test_a_scene_that_mitsuba_refuses_fails_for_good_with_its_words(mitsuba_scene: Path) -> None:
    with pytest.raises(AttemptFailed, match=r"unused parameter.*\$wrong=1") as caught:
        run(Mitsuba(), task(mitsuba_scene, {"scene": "scene.xml", "param.wrong": "1"}))
    assert caught.value.permanent


# -- merge ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "channels", "full"),
    [
        ("a.png", numpy.uint8, 3, False),
        ("a.png", numpy.uint16, 4, True),
        ("a.exr", numpy.float32, 5, False),
        ("a.exr", numpy.float16, 4, True),
        ("a.tif", numpy.uint16, 1, False),
    ],
)
def test_merged_tiles_have_the_pixels_of_the_whole_image(
    tmp_path: Path, name: str, kind: type[numpy.generic], channels: int, full: bool
) -> None:
    numbers = numpy.random.default_rng(7).random((23, 31, channels))
    whole = (numbers * (numpy.iinfo(kind).max if numpy.issubdtype(kind, numpy.integer) else 40)).astype(kind)
    merging = task(tmp_path, {"tiles": "3x2"}, size=(31, 23))
    for number, tile in enumerate(tiles.divide(31, 23, tiles.parse("3x2"))):
        rows, columns = slice(tile.top, tile.top + tile.height), slice(tile.left, tile.left + tile.width)
        part = whole[rows, columns]
        if full:
            part = numpy.zeros_like(whole)
            part[rows, columns] = whole[rows, columns]
        # ids of one and of two digits: their order is that of numbers
        write(merging.output / "needs" / "frame" / str(8 + number) / name, part, oiio__UnassociatedAlpha=1)
    assert run(Merge(), merging)[-1] == 100.0
    write(tmp_path / name, whole, oiio__UnassociatedAlpha=1)
    merged = OpenImageIO.ImageBuf(str(merging.output / name)).spec()
    assert str(merged.format) == str(OpenImageIO.ImageBuf(str(tmp_path / name)).spec().format)
    assert numpy.array_equal(read(merging.output / name), read(tmp_path / name))


def test_tiles_that_do_not_fit_are_named(tmp_path: Path) -> None:
    merging = task(tmp_path, {"tiles": "2x1"})
    for number, width in ((1, 16), (2, 15)):
        write(merging.output / "needs" / "frame" / str(number) / "a.png", numpy.zeros((24, width, 3), numpy.uint8))
    with pytest.raises(AttemptFailed, match=r"frame/2/a\.png has 15x24 pixels, which is neither the tile"):
        run(Merge(), merging)
    with pytest.raises(AttemptFailed, match="3x1 tiles are 3 frames, and it needs 2"):
        Merge().command(task(tmp_path, {"tiles": "3x1"}), None)


# -- encode --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "ending"), [("v.mp4", "h264", "png"), ("v.mov", "prores", "exr"), ("v.mkv", "ffv1", "png")]
)
def test_the_images_of_the_needed_frames_become_a_video(tmp_path: Path, name: str, codec: str, ending: str) -> None:
    encoding = task(tmp_path, {"name": name, "codec": codec, "fps": "12.5"}, frame=13)
    kind, full = (numpy.uint8, 255) if ending == "png" else (numpy.float32, 1)
    for frame in range(2, 13):
        picture = numpy.zeros((25, 33, 3), kind)
        picture[:, :, 2 if frame < 10 else 0] = full
        write(encoding.output / "needs" / "frame" / str(frame) / f"b{frame}.{ending}", picture)
    assert run(Encode(), encoding)[-1] == 100.0
    with av.open(str(encoding.output / name)) as video:
        stream = video.streams.video[0]
        assert stream.codec_context.name == codec
        assert float(stream.average_rate or 0) == 12.5
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(stream)]
    assert [frame.shape for frame in frames] == [(26, 34, 3)] * 11
    assert frames[0][12, 16, 2] > 180 > 60 > frames[0][12, 16, 0], "frame 2 comes before frame 10"
    assert frames[-1][12, 16, 0] > 180 > 60 > frames[-1][12, 16, 2]


def test_bright_linear_light_keeps_its_differences(tmp_path: Path) -> None:
    shades = {}
    for tonemap in ("soft", "clip"):
        folder = tmp_path / tonemap
        folder.mkdir()
        encoding = task(folder, {"name": "v.mkv", "codec": "ffv1", "tonemap": tonemap}, frame=9)
        picture = numpy.repeat(numpy.array([0.18, 0.5, 0.9, 1.2], numpy.float32), 8)
        write(encoding.output / "needs/frame/1/a.exr", numpy.tile(picture[None, :, None], (8, 1, 3)))
        run(Encode(), encoding)
        with av.open(str(encoding.output / "v.mkv")) as video:
            frame = next(video.decode(video=0)).to_ndarray(format="rgb24")
        shades[tonemap] = [int(frame[4, column, 0]) for column in (4, 12, 20, 28)]
    assert shades["soft"][:2] == shades["clip"][:2] == [118, 188]  # IEC 61966-2-1 of 0.18 and 0.5
    assert shades["clip"][3] == 255
    assert shades["clip"][2] > shades["soft"][2]
    assert shades["soft"][2] < shades["soft"][3] < 255


def test_a_frame_without_an_image_is_named(tmp_path: Path) -> None:
    encoding = task(tmp_path, {}, frame=3)
    with pytest.raises(AttemptFailed, match="no frames to make a video of"):
        Encode().command(encoding, None)
    (encoding.output / "needs/frame/2").mkdir(parents=True)
    (encoding.output / "needs/frame/2/notes.txt").touch()
    with pytest.raises(AttemptFailed, match="frame 2 holds no image"):
        Encode().command(encoding, None)
