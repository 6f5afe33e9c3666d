"""A Blender that stays renders the pixels of Blender run by hand; what can not be rendered is refused."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy
import OpenImageIO
import psutil
import pytest
from blenders import BLENDER, LIMIT, SCRIPT, Farmhand, by_hand, pixels

from distren.client.seed import pack
from distren.client.wishes import Wishes
from distren.errors import SceneError
from distren.renderers.blender import opengl
from distren.worker import sandbox
from distren.worker.limits import Limits
from distren.worker.places import Places


@pytest.fixture(scope="module")
def blends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small .blend files, and in `hand` pictures of them that were rendered without us."""
    folder = tmp_path_factory.mktemp("blends")
    by_hand("-P", str(SCRIPT), "--", str(folder))
    by_hand("--disable-autoexec", str(folder / "plain.blend"), "-o", str(folder / "hand" / "####"), "-f", "2,5")
    return folder


@pytest.fixture
def farmhand(blends: Path, tmp_path: Path) -> Iterator[Farmhand]:
    made = Farmhand(blends, tmp_path, sandbox.find("auto", shared=(), folder=tmp_path))
    yield made
    made.places.close()


def test_frames_of_one_program_equal_those_of_blender_by_hand(farmhand: Farmhand, blends: Path) -> None:
    for number in (5, 2):
        made = farmhand.render("plain.blend", number)
        assert list(made) == [f"plain000{number}.png"]
        assert numpy.array_equal(pixels(made[f"plain000{number}.png"]), pixels(blends / "hand" / f"000{number}.png"))
    assert "Read blend" in farmhand.logs[0]
    assert "Read blend" not in farmhand.logs[1]


def test_tiles_make_up_the_whole_image(farmhand: Farmhand) -> None:
    whole = pixels(farmhand.render("plain.blend", 3, dither="0")["plain0003.png"])
    put = numpy.full_like(whole, -1)
    for left, top, width, height in ((0, 0, 17, 32), (17, 0, 31, 11), (17, 11, 31, 21)):
        tile = {"tile-left": left, "tile-top": top, "tile-width": width, "tile-height": height}
        made = farmhand.render("plain.blend", 3, dither="0", **{name: str(value) for name, value in tile.items()})
        put[top : top + height, left : left + width] = pixels(made["plain0003.png"])
    assert numpy.array_equal(put, whole)
    assert sum("Read blend" in log for log in farmhand.logs) == 1


def test_passes_come_in_one_file_or_in_a_file_each(farmhand: Farmhand) -> None:
    made = farmhand.render("plain.blend", 1, format="multilayer", passes="z,normal")
    channels = OpenImageIO.ImageBuf(str(made["plain0001.exr"])).spec().channelnames
    assert {"ViewLayer.Depth.Z", "ViewLayer.Normal.X", "ViewLayer.Combined.R"} <= set(channels)
    made = farmhand.render("plain.blend", 1, passes="z,normal", pass_files="separate")
    assert list(made) == ["plain.viewlayer.depth.0001.exr", "plain.viewlayer.normal.0001.exr", "plain0001.png"]
    assert pixels(made["plain.viewlayer.depth.0001.exr"]).max() > 1.0


def test_each_view_layer_in_use_is_in_one_file_or_has_files_of_its_own(farmhand: Farmhand) -> None:
    made = farmhand.render("layers.blend", 1, format="multilayer", passes="z")
    channels = OpenImageIO.ImageBuf(str(made["layers0001.exr"])).spec().channelnames
    assert {"ViewLayer.Combined.R", "ViewLayer.Depth.Z", "Empty.Combined.R", "Empty.Depth.Z"} <= set(channels)
    made = farmhand.render("layers.blend", 1, passes="z", pass_files="separate")
    near, nothing = (made[f"layers.{layer}.depth.0001.exr"] for layer in ("viewlayer", "empty"))
    assert pixels(near).min() < 100 < pixels(nothing).min()


def test_another_scene_of_the_file_is_rendered_with_what_is_its_own(farmhand: Farmhand) -> None:
    whole, side = (farmhand.render("plain.blend", 1, **scene)["plain0001.png"] for scene in ({}, {"scene": "Side"}))
    assert (pixels(whole).shape, pixels(side).shape) == ((32, 48, 4), (10, 20, 4))
    assert pixels(side)[..., :3].max() > 0.1


def test_settings_win_over_the_file(farmhand: Farmhand) -> None:
    first = pixels(farmhand.render("plain.blend", 1)["plain0001.png"])
    choices = {"camera": "Second", "percentage": "200", "color_mode": "rgb", "color_depth": "16", "samples": "1"}
    other = pixels(farmhand.render("plain.blend", 1, **choices)["plain0001.png"])
    assert (first.shape, other.shape) == ((32, 48, 4), (64, 96, 3))
    made = farmhand.render("plain.blend", 1, engine="workbench", format="exr", view_layer="Empty", transparent="on")
    assert pixels(made["plain0001.exr"])[..., 3].max() < 0.01


def test_a_packed_file_renders_elsewhere_as_it_does_at_home(farmhand: Farmhand, blends: Path) -> None:
    by_hand(str(blends / "job" / "files.blend"), "-o", str(blends / "hand" / "files"), "-f", "4")
    with pack(blends / "job" / "files.blend") as seed:
        assert sorted(seed.files) == [
            "distrenjob.xml", "external/1/wood.png", "files.blend", "parts/inside.png", "parts/library.blend",
            "tex/near.png", "tex/tile.1001.png", "tex/tile.1002.png",
        ]  # fmt: skip
        assert (seed.spec.width, seed.spec.height, str(seed.spec.frames)) == (48, 32, "1-6")
        farmhand.inputs = farmhand.scratch / "elsewhere"
        for name, source in seed.files.items():
            path = farmhand.inputs / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source if isinstance(source, bytes) else source.read_bytes())
    assert seed.scratch is not None
    assert not seed.scratch.exists()
    made = farmhand.render(seed.spec.settings["blend"], 4)
    assert numpy.array_equal(pixels(made["files0004.png"]), pixels(blends / "hand" / "files0004.png"))


def test_what_is_missing_is_said_where_the_job_is_made(blends: Path) -> None:
    with pytest.raises(
        SceneError, match=r"^lacking\.blend: a file is missing \(image 'gone\.png': //gone\.png\): put it"
    ):
        pack(blends / "lacking.blend")
    with pack(blends / "lacking.blend", Wishes(settings={"missing": "ignore"})) as seed:
        assert set(seed.files) == {"lacking.blend", "distrenjob.xml"}


def test_the_range_is_that_of_the_scene_that_is_named(blends: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pack(blends / "plain.blend", Wishes(settings={"scene": "Other"})) as seed:
        assert (str(seed.spec.frames), seed.spec.width, seed.spec.height) == ("10-14x2", 20, 10)
    assert "scene 'Other' of plain.blend has no camera" in caplog.text


@pytest.mark.parametrize(
    ("blend", "settings", "words"),
    [
        ("lacking.blend", {}, "files are missing (image 'gone.png': //gone.png): submit them with the scene"),
        ("plain.blend", {"scene": "Nowhere"}, "the file has no scene 'Nowhere'; there are: 'Other', 'Scene'"),
        ("plain.blend", {"scene": "Other"}, "Cannot render, no camera"),
        ("driver.blend", {}, "the scene is driven by Python (Cube location), which this worker does not run"),
    ],
)
def test_what_nobody_can_render_is_refused(
    farmhand: Farmhand, blend: str, settings: dict[str, str], words: str
) -> None:
    assert words in farmhand.refuse(blend, **settings)


def test_a_blend_runs_no_script_of_its_own_unless_the_owner_allows_it(farmhand: Farmhand, blends: Path) -> None:
    trap = blends / "trap"
    farmhand.render("script.blend", 1)
    farmhand.render("driver.blend", 1, scripts="ignore")
    assert not trap.exists()
    farmhand.scripts, farmhand.sandbox = True, sandbox.find("off", shared=(), folder=farmhand.scratch)
    farmhand.render("script.blend", 1)
    assert trap.exists(), "the trap does not work"
    trap.unlink()


def test_a_hostile_scene_gets_nothing_in_a_blender_that_stays(farmhand: Farmhand, blends: Path) -> None:
    """The owner lets scenes run scripts: then the sandbox and the limits are all that there is."""
    farmhand.scripts, farmhand.sandbox = True, sandbox.find("on", shared=(), folder=farmhand.scratch)

    def survivors() -> int:
        return sum(one.info["cmdline"] == ["sleep", "300.4711"] for one in psutil.process_iter(["cmdline"]))

    with socket.create_server(("127.0.0.1", 0)) as server:
        (blends / "port").write_text(str(server.getsockname()[1]))
        farmhand.render("hostile.blend", 1)
    said = [line.split()[:2] for line in farmhand.logs[0].splitlines() if line.startswith(("GOT", "REFUSED"))]
    assert said == [["REFUSED", what] for what in ("users", "folder", "scene", "network")]
    assert not (blends / "trap").exists()
    assert survivors() == 2
    farmhand.places.close()
    assert survivors() == 0
    (blends / "fill").touch()
    farmhand.places, farmhand.limits = Places(), Limits(time=LIMIT, output=50 * 10**6)
    trouble = farmhand.try_to_render("hostile.blend", 1)[0].outcome.trouble
    assert trouble is not None
    assert "more than its limit of 50 MB" in trouble.text
    assert survivors() == 0


def test_a_blender_that_crashes_fails_its_frame_alone(farmhand: Farmhand) -> None:
    slow = {"samples": "2000"}  # so that it says how far it is
    farmhand.render("plain.blend", 1, **slow)

    def kill(_: float) -> None:
        for one in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # databases of other tests have processes that come and go
                if one.name() == "blender":
                    one.kill()

    farmhand.on_progress = kill
    answered, folder = farmhand.try_to_render("plain.blend", 2, **slow)
    farmhand.on_progress = lambda _: None
    assert answered.outcome.trouble is not None
    assert "SIGKILL" in answered.outcome.trouble.text
    assert folder.is_dir()
    assert list(farmhand.render("plain.blend", 2)) == ["plain0002.png"]


def test_a_file_that_is_no_blend_fails_for_good(farmhand: Farmhand, blends: Path) -> None:
    (blends / "broken.blend").write_bytes(b"BLENDER-v304" + b"\0" * 100)
    text = farmhand.refuse("broken.blend")
    assert "broken.blend" in text or "blend file" in text


def test_blender_is_found_with_its_version() -> None:
    found = BLENDER.probe(None)
    assert found.version is not None
    assert int(found.version.split(".")[0]) >= 3
    assert set(found.offers) == ({"blender"} if found.missing else {"blender", "blender:opengl"})


def test_a_machine_without_opengl_says_so_and_offers_cycles_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opengl, "LIBRARY", "libNoSuchEGL.so.1")
    found = BLENDER.probe(None)
    assert set(found.offers) == {"blender"}
    assert found.missing is not None
    assert found.missing.startswith("only Cycles: EEVEE and Workbench need OpenGL")


def test_submit_says_which_engine_the_file_needs(blends: Path) -> None:
    with pack(blends / "workbench.blend") as seed:
        assert seed.spec.settings == {"blend": "workbench.blend", "engine": "workbench"}
    with pack(blends / "workbench.blend", Wishes(settings={"engine": "cycles"})) as seed:
        assert seed.spec.settings["engine"] == "cycles"
    with pack(blends / "plain.blend") as seed:
        assert "engine" not in seed.spec.settings
