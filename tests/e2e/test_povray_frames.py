"""Frames rendered through the adapter have exactly the pixels of POV-Ray run by hand; a real POV-Ray renders."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy
import numpy.typing
import OpenImageIO
import pytest

from distren.renderers.povray import PovRay
from distren.renderers.protocol import AttemptFailed, ExpectedFile, Task
from distren.worker import outputs, process
from distren.worker.limits import Limits
from distren.worker.process import Outcome, Stop
from distren.worker.sandbox import Mode, Sandbox, View

POVRAY = PovRay()
SANDBOX = Sandbox(mode=Mode.SANDBOX)
SCENE = """#version 3.7;
global_settings { assumed_gamma 1.0 }
#include "colors.inc"
#include "parts/ball.inc"
camera { location <0, 1, -5> look_at 0 right x * image_width / image_height }
light_source { <5, 5, -5> White }
plane { y, -1 pigment { image_map { png "maps/floor.png" } rotate 90 * x } }
object { Ball translate <2 * sin(clock * 2 * pi), frame_number / 20, 0> }
"""
BALL = """#ifndef (Speed) #declare Speed = 1; #end
#declare Ball = sphere { 0, 1 pigment { rgb <1, clock * Speed, final_frame / 20> } finish { phong 1 } }
"""


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A scene with an include and a picture, in a folder with a blank in its name."""
    folder = tmp_path / "in puts"
    (folder / "parts").mkdir(parents=True)
    (folder / "maps").mkdir()
    (folder / "scene.pov").write_text(SCENE)
    (folder / "parts" / "ball.inc").write_text(BALL)
    checks = numpy.indices((8, 8)).sum(axis=0) % 2 * 255
    target = OpenImageIO.ImageOutput.create("floor.png")
    target.open(str(folder / "maps" / "floor.png"), OpenImageIO.ImageSpec(8, 8, 1, "uint8"))
    target.write_image(checks.astype(numpy.uint8).reshape(8, 8, 1))
    target.close()
    return folder


def by_hand(folder: Path, target: Path, *arguments: str) -> None:
    target.mkdir()
    command = ("povray", *arguments, "-D", "+WT1", f"+O{target}/")
    ran = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False, stdin=subprocess.DEVNULL)
    assert ran.returncode == 0, ran.stderr.decode("utf-8", "replace")


def render(
    inputs: Path,
    settings: Mapping[str, str],
    frames: Iterable[int],
    target: Path,
    *,
    size: tuple[int | None, int | None] = (64, 48),
    ends: tuple[int, int] | None = None,
    more: tuple[ExpectedFile, ...] = (),
) -> Outcome:
    """Render through the adapter, each frame in a folder of its own, and move what is expected to `target`."""
    numbers = list(frames)
    first, last = ends or (min(numbers), max(numbers))
    target.mkdir()
    for number in numbers:
        output, temporary = target.parent / f"output {number}", target.parent / f"tmp {number}"
        output.mkdir()
        temporary.mkdir()
        task = Task(
            frame=number,
            first=first,
            last=last,
            width=size[0],
            height=size[1],
            settings=settings,
            inputs=inputs,
            output=output,
        )
        command = POVRAY.command(task, None)
        command = replace(command, outputs=(*command.outputs, *more))
        told: list[float] = []
        outcome = process.run(
            command,
            sandbox=SANDBOX,
            view=View(folder=output, temporary=temporary, readable=(inputs, *command.reads)),
            read_line=POVRAY.read_line,
            on_progress=told.append,
            limits=Limits(time=100),
            stop=Stop(),
        )
        outputs.check(command, output, outcome)
        assert told
        assert told[-1] == 100.0
        for expected in command.outputs:
            (output / expected.name).rename(target / expected.name)
    return outcome


def pixels(path: Path) -> numpy.typing.NDArray[numpy.float32]:
    picture = OpenImageIO.ImageBuf(str(path))
    return numpy.asarray(picture.get_pixels(OpenImageIO.FLOAT))


def assert_equal(ours: Path, theirs: Path, *, some: bool = False) -> None:
    """The same files with the same pixels; `some`: theirs may have more files."""
    mine, other = ({path.name for path in folder.iterdir()} for folder in (ours, theirs))
    assert mine
    assert mine <= other if some else mine == other
    for name in mine:
        assert numpy.array_equal(pixels(ours / name), pixels(theirs / name)), name


def test_the_frames_of_an_animation_equal_those_of_povrays_own_loop(inputs: Path, tmp_path: Path) -> None:
    by_hand(inputs, tmp_path / "hand", "scene.pov", "+W64", "+H48", "+KFI1", "+KFF5")
    render(inputs, {"scene": "scene.pov"}, range(1, 6), tmp_path / "farm")
    assert_equal(tmp_path / "farm", tmp_path / "hand")


def test_the_frames_of_a_cyclic_animation_equal_those_of_povrays_own_loop(inputs: Path, tmp_path: Path) -> None:
    by_hand(inputs, tmp_path / "hand", "scene.pov", "+W64", "+H48", "+KFI1", "+KFF9", "+KI0.5", "+KF2", "+KC")
    settings = {"scene": "scene.pov", "cyclic": "on", "initial_clock": "0.5", "final_clock": "2"}
    render(inputs, settings, (1, 4, 9), tmp_path / "farm")
    assert len(list((tmp_path / "hand").iterdir())) == 9
    assert_equal(tmp_path / "farm", tmp_path / "hand", some=True)


def test_an_ini_renders_as_by_hand(inputs: Path, tmp_path: Path) -> None:
    (inputs / "all.ini").write_text(
        "; an animation\nInput_File_Name=scene\n+W80 +H60\nAntialias=On Antialias_Threshold=0.01\n"
        "Antialias_Threshold=0.1\n+R2 -J\n"
        "Initial_Frame=0\nFinal_Frame=11\nFinal_Clock=0.75\nCyclic_Animation=on\nSubset_Start_Frame=2\n"
        "Subset_End_Frame=8\nFrame_Step=3\nBits_Per_Color=16\nOutput_Alpha=on\nDeclare=Speed=0.5\n"
    )
    by_hand(inputs, tmp_path / "hand", "all.ini")
    found = POVRAY.read_scene(inputs / "all.ini", {})
    assert str(found.frames) == "2-8x3"
    render(inputs, found.settings, found.frames or (), tmp_path / "farm", size=(found.width, found.height))
    assert_equal(tmp_path / "farm", tmp_path / "hand")


@pytest.mark.parametrize(("name", "frames"), [("10-20", (10, 15)), ("1-9x4", (1, 5, 9))])
def test_a_part_of_the_frames_equals_povrays_subset(
    inputs: Path, tmp_path: Path, name: str, frames: tuple[int, ...]
) -> None:
    first, last = (10, 20) if name == "10-20" else (1, 9)
    by_hand(inputs, tmp_path / "hand", "scene.pov", "+W64", "+H48", f"+KFI{first}", f"+KFF{last}")
    render(inputs, {"scene": "scene.pov"}, frames, tmp_path / "farm", ends=(first, last))
    assert_equal(tmp_path / "farm", tmp_path / "hand", some=True)


def test_a_still_equals_povrays_own(inputs: Path, tmp_path: Path) -> None:
    by_hand(inputs, tmp_path / "hand", "scene.pov", "+W64", "+H48", "+K0.3", "+Q4", "Declare=Speed=2")
    settings = {"scene": "scene.pov", "clock": "0.3", "quality": "4", "declare.Speed": "2"}
    render(inputs, settings, [1], tmp_path / "farm")
    assert_equal(tmp_path / "farm", tmp_path / "hand")


@pytest.mark.parametrize(("ending", "letter"), [("exr", "E"), ("jpg", "J"), ("tga", "T"), ("ppm", "P"), ("bmp", "B")])
def test_other_formats_are_written_and_checked(inputs: Path, tmp_path: Path, ending: str, letter: str) -> None:
    by_hand(inputs, tmp_path / "hand", "scene.pov", "+W64", "+H48", f"+F{letter}")
    render(inputs, {"scene": "scene.pov", "format": ending}, [1], tmp_path / "farm")
    assert_equal(tmp_path / "farm", tmp_path / "hand")


@pytest.mark.parametrize("alpha", ["on", "off"])
@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"bits": "16"}, "uint16"),
        ({"format": "exr"}, "half"),
        ({"format": "hdr"}, "float"),
        ({"format": "ppm"}, "uint8"),
    ],
)
def test_depth_and_channels_are_those_that_were_asked_for(
    inputs: Path, tmp_path: Path, settings: dict[str, str], kind: str, alpha: str
) -> None:
    render(inputs, {"scene": "scene.pov", "alpha": alpha, **settings}, [1], tmp_path / "farm")
    (made,) = (tmp_path / "farm").iterdir()
    spec = OpenImageIO.ImageBuf(str(made)).spec()
    assert str(spec.format) == kind
    assert spec.nchannels == (4 if alpha == "on" and made.suffix in (".png", ".exr") else 3)


def test_a_frame_may_have_several_files(inputs: Path, tmp_path: Path) -> None:
    """What a scene writes itself is part of the result where the job's <outputs> name it."""
    with (inputs / "scene.pov").open("a") as scene:
        scene.write('#fopen Track "track.csv" write\n#write (Track, "clock,", clock, "\\n")\n#fclose Track\n')
    render(inputs, {"scene": "scene.pov"}, [2], tmp_path / "farm", ends=(1, 3), more=(ExpectedFile(name="track.csv"),))
    assert sorted(path.name for path in (tmp_path / "farm").iterdir()) == ["scene2.png", "track.csv"]
    assert (tmp_path / "farm" / "track.csv").read_text().startswith("clock,0.5")


def test_an_own_file_goes_before_povrays_own_of_the_same_name(inputs: Path, tmp_path: Path) -> None:
    (inputs / "colors.inc").write_text('#include "consts.inc"\n#declare White = rgb <1, 0.2, 0.2>;\n')
    by_hand(inputs, tmp_path / "hand", "scene.pov", "+W64", "+H48")
    render(inputs, {"scene": "scene.pov"}, [1], tmp_path / "farm")
    assert_equal(tmp_path / "farm", tmp_path / "hand")


def test_folders_to_include_from_are_searched(inputs: Path, tmp_path: Path) -> None:
    (inputs / "my lib").mkdir()
    (inputs / "parts" / "ball.inc").rename(inputs / "my lib" / "ball.inc")
    (inputs / "scene.pov").write_text(SCENE.replace("parts/ball.inc", "ball.inc"))
    by_hand(inputs, tmp_path / "hand", "scene.pov", '+L"my lib"', "+W64", "+H48")
    render(inputs, {"scene": "scene.pov", "include": "my lib"}, [1], tmp_path / "farm")
    assert_equal(tmp_path / "farm", tmp_path / "hand")


def test_an_ini_writes_nothing_elsewhere_and_runs_nothing(inputs: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    (inputs / "bad.ini").write_text(
        f'Input_File_Name=scene.pov\nOutput_File_Name="{bad}.png"\nPre_Scene_Command="touch {bad}"\n'
        f'All_File="{bad}.log"\nCreate_Histogram=on\nHistogram_Name="{bad}.csv"\nCreate_Ini="{bad}.ini"\n'
    )
    render(inputs, POVRAY.read_scene(inputs / "bad.ini", {}).settings, [1], tmp_path / "farm")
    assert not list(tmp_path.glob("bad*"))
    assert [path.name for path in (tmp_path / "farm").iterdir()] == ["scene.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n\nsphere { Foo }", r"^scene\.pov line 3: Parse Error: .*undeclared identifier 'Foo'"),
        ('#include "nowhere.inc"', r"^scene\.pov line 1: Parse Error: Cannot open include file nowhere\.inc"),
        ('#error "my own words"', r"^scene\.pov line 1: Parse Error: .*my own words"),
    ],
)
def test_a_scene_with_an_error_fails_for_good_with_povrays_message(
    inputs: Path, tmp_path: Path, text: str, message: str
) -> None:
    (inputs / "scene.pov").write_text("#version 3.7; " + text)
    with pytest.raises(AttemptFailed, match=message) as caught:
        render(inputs, {"scene": "scene.pov"}, [1], tmp_path / "farm")
    assert caught.value.permanent


def test_povray_is_found_with_its_version() -> None:
    version = POVRAY.probe(None).version
    assert version is not None
    assert version.startswith("3.7")
