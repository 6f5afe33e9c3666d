"""The POV-Ray adapter, without POV-Ray: what a scene needs, how POV-Ray is called, what its words mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from distren.errors import JobFileError, SceneError
from distren.renderers import registry
from distren.renderers.povray import PovRay
from distren.renderers.povray.references import Kind, Reader
from distren.renderers.protocol import AttemptFailed, Command, Progress, Scene, Task, Trouble

POVRAY = PovRay()
BY_ITSELF = "Timed out waiting for worker thread startup"


def write(folder: Path, **files: str) -> Path:
    """Make files; `__` in a name stands for '/', `_dot_` for '.'."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def scene(folder: Path, text: str, **others: str) -> Scene:
    write(folder, scene_dot_pov=text, **others)
    return POVRAY.read_scene(folder / "scene.pov", {})


def names(found: Scene) -> list[str]:
    return [path.as_posix() for path in found.files]


def command(
    inputs: Path,
    settings: Mapping[str, str],
    *,
    frame: int = 3,
    first: int = 1,
    last: int = 12,
    size: tuple[int | None, int | None] = (64, 48),
) -> Command:
    task = Task(
        frame=frame,
        first=first,
        last=last,
        width=size[0],
        height=size[1],
        settings=settings,
        inputs=inputs,
        output=inputs / "output",
    )
    return POVRAY.command(task, None)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return write(tmp_path, scene_dot_pov="sphere { 0, 1 }")


# -- scenes --------------------------------------------------------------------------------------------------------


def test_the_adapter_is_found_by_its_name_and_by_its_scenes() -> None:
    assert isinstance(registry.named("povray"), PovRay)
    assert POVRAY.accepts(Path("a.pov"))
    assert POVRAY.accepts(Path("A.INI"))
    assert not POVRAY.accepts(Path("a.blend"))


def test_own_includes_are_packed_and_followed_and_povrays_own_are_known(tmp_path: Path) -> None:
    found = scene(
        tmp_path,
        '#include "colors.inc"\n#include "parts/one.inc"\n#include "two"',
        parts__one_dot_inc='#include "three.inc"',
        two_dot_inc="",
        three_dot_inc='#include "scene.pov"',
        other_dot_inc="",
    )
    assert names(found) == ["parts/one.inc", "scene.pov", "three.inc", "two.inc"]
    assert found.settings == {"scene": "scene.pov"}
    assert found.root == tmp_path
    assert found.frames is None


def test_an_own_file_goes_before_povrays_own_of_the_same_name(tmp_path: Path) -> None:
    assert names(scene(tmp_path, '#include "colors.inc"', colors_dot_inc="")) == ["colors.inc", "scene.pov"]


def test_pictures_fields_fonts_and_data_are_packed(tmp_path: Path) -> None:
    text = """
    pigment { image_map { png "a.png" once } }
    pigment { image_map { "b.jpg" } }
    height_field { tga "c.tga" smooth }
    text { ttf "own.ttf" "some words.png" 1, 0 }
    text { ttf "timrom.ttf" "words" 1, 0 }
    #declare Map = "d.exr";
    normal { bump_map { exr Map } }
    density { density_file df3 "e.df3" }
    #fopen In "f.txt" read
    #fopen Out "g.txt" write
    #fopen Maybe "not there.txt" read
    global_settings { photons { load_file "h.ph" } }
    """
    media = {f"{name}_dot_{end}": "" for name, end in zip("abcdefgh", _ENDINGS, strict=True)}
    found = scene(tmp_path, text, own_dot_ttf="", **media)
    wanted = [f"{name}.{end}" for name, end in zip("abcdefgh", _ENDINGS, strict=True) if name != "g"]
    assert names(found) == sorted([*wanted, "own.ttf", "scene.pov"])


_ENDINGS = ("png", "jpg", "tga", "exr", "df3", "txt", "txt", "ph")


def test_comments_and_strings_are_read_as_povray_does(tmp_path: Path) -> None:
    text = (
        '// #include "a.inc"\n/* #include "b.inc" /* nested */ #include "c.inc" */\n'
        '#debug "#include \\"d.inc\\" // no comment"\n#  include "e.inc" // yes\n'
    )
    found = list(Reader().references(text))
    assert [(one.name, one.kind, one.line) for one in found] == [("e.inc", Kind.INCLUDE, 4)]


def test_a_missing_include_is_named_with_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(SceneError) as caught:
        scene(tmp_path, '\n\n#include "nowhere.inc"')
    assert str(caught.value) == (
        "scene.pov line 3: include file 'nowhere.inc' is not beside the scene nor among POV-Ray's own: put it there or "
        "correct the line"
    )
    with pytest.raises(SceneError, match=r"^parts/one\.inc line 1: file 'a\.png' is not beside"):
        scene(tmp_path, '#include "parts/one.inc"', parts__one_dot_inc='image_map { png "a.png" }')


def test_a_file_that_a_condition_may_leave_out_need_not_be_there(tmp_path: Path) -> None:
    text = '#if (Fancy) #include "fancy.inc" #else #while (0) #include "plain.inc" #end #end #include "last.inc"'
    assert names(scene(tmp_path, text, plain_dot_inc="", last_dot_inc="")) == ["last.inc", "plain.inc", "scene.pov"]


def test_files_above_the_scene_make_their_common_folder_the_root(tmp_path: Path) -> None:
    write(tmp_path, maps__a_dot_png="")
    found = scene(tmp_path / "scenes", 'image_map { png "../maps/a.png" }')
    assert found.root == tmp_path
    assert names(found) == ["maps/a.png", "scenes/scene.pov"]
    assert found.settings == {"scene": "scenes/scene.pov"}


def test_an_absolute_path_is_refused(tmp_path: Path) -> None:
    write(tmp_path, a_dot_inc="")
    with pytest.raises(SceneError, match=r"scene\.pov line 1: .* is an absolute path"):
        scene(tmp_path, f'#include "{tmp_path}/a.inc"')


def test_a_missing_scene_is_named(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="there is no scene"):
        POVRAY.read_scene(tmp_path / "nothing.pov", {})


def test_an_ini_says_scene_frames_and_size(tmp_path: Path) -> None:
    write(
        tmp_path,
        scene_dot_pov='#include "lib.inc"',
        library__lib_dot_inc="",
        a_dot_ini="; hello\nInput_File_Name = scene ; the scene\n+W320 +H200\ncommon.ini\n[big]\nWidth=4000",
        common_dot_ini='Initial_Frame=2\nFinal_Frame=9 Width=3\nLibrary_Path="library"\n'
        "Subset_Start_Frame=4\nFrame_Step=2",
    )
    found = POVRAY.read_scene(tmp_path / "a.ini", {})
    assert names(found) == ["a.ini", "common.ini", "library/lib.inc", "scene.pov"]
    assert found.settings == {"scene": "scene.pov", "ini": "a.ini"}
    assert (str(found.frames), found.width, found.height) == ("4-8x2", 320, 200)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Width=3", "names no scene"),
        ("\nInput_File_Name=b.pov", "line 2: the scene 'b.pov' is not beside"),
        ("Input_File_Name=scene.pov\nWidht=3", "line 2: POV-Ray has no option 'Widht'"),
        ("Input_File_Name=scene.pov\nmissing.ini", "missing.ini' can not be read"),
        ("Input_File_Name=scene.pov\na.ini", "include each other without end"),
        ("Input_File_Name=scene.pov\nInitial_Frame=5\nFinal_Frame=3", "which are none"),
    ],
)
def test_what_is_wrong_with_an_ini_is_named(job: Path, text: str, complaint: str) -> None:
    write(job, a_dot_ini=text)
    with pytest.raises(SceneError, match=complaint):
        POVRAY.read_scene(job / "a.ini", {})


# -- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"scene": "a/b.pov", "quality": "11", "antialias": "0.3", "antialias_depth": "3", "sampling_method": "2"},
        {"scene": "b.pov", "cyclic": "on", "initial_clock": "-1.5", "final_clock": "2e3", "include": "a:b/c"},
        {"ini": "b.ini", "format": "exr", "bits": "16", "alpha": "on", "declare.Speed": "-3.5", "file_gamma": "srgb"},
    ],
)
def test_good_settings_pass(settings: dict[str, str]) -> None:
    POVRAY.check(settings)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({}, "lack scene"),
        ({"scene": "../a.pov"}, "scene='../a.pov'"),
        ({"scene": "/a.pov"}, "a path in the seed"),
        ({"scene": 'a"b.pov'}, "a path in the seed"),
        ({"scene": "a.pov", "qualty": "3"}, "no setting 'qualty'; there are scene, "),
        ({"scene": "a.pov", "quality": "12"}, "write 0 to 11"),
        ({"scene": "a.pov", "antialias": "much"}, "on, off or a threshold"),
        ({"scene": "a.pov", "include": "a:../b"}, "folders in the seed"),
        ({"scene": "a.pov", "format": "gif"}, "png, jpg, exr"),
        ({"scene": "a.pov", "clock": "nan"}, "write a number"),
        ({"scene": "a.pov", "declare.1x": "1"}, "no identifier"),
        ({"scene": "a.pov", "declare.X": "1 +Ofoo"}, "write a number"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, str], complaint: str) -> None:
    with pytest.raises(JobFileError, match=complaint):
        POVRAY.check(settings)


# -- commands ------------------------------------------------------------------------------------------------------


def test_a_frame_of_an_animation_is_called_as_a_subset_of_the_whole_range(job: Path) -> None:
    made = command(job, {"scene": "scene.pov"})
    assert made.argv[0] == "povray"
    for wanted in ("+KFI1", "+KFF12", "+SF3", "+EF3", "+W64", "+H48", "+FN", "+WT1", "-D", f"+L{job}"):
        assert wanted in made.argv
    assert [(file.name, file.image, file.width, file.height) for file in made.outputs] == [
        ("scene03.png", True, 64, 48)
    ]


@pytest.mark.parametrize(
    ("last", "cyclic", "name"),
    [(9, "off", "scene3.png"), (9, "on", "scene03.png"), (10, "off", "scene03.png"), (1000, "on", "scene0003.png")],
)
def test_a_frames_file_is_named_as_povray_names_it(job: Path, last: int, cyclic: str, name: str) -> None:
    assert command(job, {"scene": "scene.pov", "cyclic": cyclic}, last=last).outputs[0].name == name


def test_a_single_frame_is_a_still(job: Path) -> None:
    made = command(job, {"scene": "scene.pov", "clock": "0.5"}, frame=7, first=7, last=7)
    assert made.outputs[0].name == "scene.png"
    assert "Clock=0.5" in made.argv
    assert not any(word.startswith(("+KF", "+SF")) for word in made.argv)


def test_the_scenes_range_goes_before_the_jobs_and_settings_before_both(job: Path) -> None:
    write(job, a_dot_ini="Input_File_Name=scene.pov\nFinal_Frame=100")
    settings = {"scene": "scene.pov", "ini": "a.ini"}
    assert {"+KFI1", "+KFF100", "+SF12"} <= set(command(job, settings, frame=12, first=10, last=20).argv)
    settings |= {"initial_frame": "0", "final_frame": "49"}
    assert {"+KFI0", "+KFF49"} <= set(command(job, settings, frame=12, first=10, last=20).argv)


def test_a_frame_outside_of_the_animation_is_refused_for_good(job: Path) -> None:
    write(job, a_dot_ini="Input_File_Name=scene.pov\nFinal_Frame=5")
    with pytest.raises(AttemptFailed, match="frame 6 is outside of the animation, which goes from 1 to 5") as caught:
        command(job, {"scene": "scene.pov", "ini": "a.ini"}, frame=6)
    assert caught.value.permanent


def test_options_of_an_ini_come_before_the_settings_and_dangerous_ones_not_at_all(job: Path) -> None:
    write(
        job,
        a_dot_ini="Input_File_Name=scene.pov\nAntialias=On\n+A0.1 +J0.5 -benchmark --help +O/tmp/bad +GA/tmp/bad\n"
        'Output_File_Name=/tmp/bad\nPre_Scene_Command="touch /tmp/bad"\nAll_File="/tmp/bad"\nWork_Threads=8\n'
        "Quality=3\n[big]\nQuality=11\n",
    )
    settings = {"scene": "scene.pov", "ini": "a.ini", "quality": "5", "declare.Speed": "2"}
    argv = command(job, settings).argv
    words = [word.replace(str(job), "") for word in argv[2:] if "+H" not in word]
    assert not any("bad" in word or "help" in word or "bench" in word or "8" in word for word in words)
    looks = [word for word in argv if word.startswith(("Quality", "Anti", "+A", "+J", "Declare"))]
    assert looks == ["Antialias=On", "+A0.1", "+J0.5", "Quality=3", "Quality=5", "Declare=Speed=2"]
    assert "Quality=11" in command(job, settings | {"ini_section": "BIG"}).argv


def test_the_size_is_the_jobs_or_the_inis_or_the_default(job: Path) -> None:
    write(job, a_dot_ini="Input_File_Name=scene.pov\nWidth=320\nHeight=200")
    both = {"scene": "scene.pov", "ini": "a.ini"}
    assert {"+W64", "+H48"} <= set(command(job, both).argv)
    assert {"+W320", "+H200"} <= set(command(job, both, size=(None, None)).argv)
    assert {"+W800", "+H600"} <= set(command(job, {"scene": "scene.pov"}, size=(None, None)).argv)


def test_a_scene_or_an_ini_outside_of_the_job_is_refused(tmp_path: Path) -> None:
    inputs = write(tmp_path / "inputs", scene_dot_pov="")
    (inputs / "link.pov").symlink_to("/etc/passwd")
    (inputs / "link.ini").symlink_to("/etc/passwd")
    write(inputs, a_dot_ini="Input_File_Name=scene.pov\n/etc/other.ini")
    for settings in ({"scene": "link.pov"}, {"scene": "none.pov"}, {"ini": "link.ini"}, {"ini": "a.ini"}):
        with pytest.raises(AttemptFailed) as caught:
            command(inputs, settings)
        assert caught.value.permanent


def test_own_files_named_like_povrays_own_switch_its_library_off(job: Path) -> None:
    assert command(job, {"scene": "scene.pov"}).environment == {}
    write(job, colors_dot_inc="")
    assert "POVINI" in command(job, {"scene": "scene.pov"}).environment


def test_formats_come_from_settings_or_ini(job: Path) -> None:
    write(job, a_dot_ini="Input_File_Name=scene.pov\nOutput_File_Type=N16")
    settings = {"scene": "scene.pov", "ini": "a.ini"}
    made = command(job, settings)
    assert "Bits_Per_Color=16" in made.argv
    made = command(job, settings | {"format": "exr"})
    assert "+FE" in made.argv
    assert made.outputs[0].name == "scene03.exr"


# -- what POV-Ray says ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("Rendered 1024 of 19200 pixels (5%)", Progress(100 * 1024 / 19200)),
        (
            "File '/cache/inputs/ab/parts/s.pov' line 2: Parse Error: Expected 'numeric expression', found Foo",
            Trouble("s.pov line 2: Parse Error: Expected 'numeric expression', found Foo", permanent=True),
        ),
        ("Parse Error: Cannot open input file.", Trouble("Parse Error: Cannot open input file.", permanent=True)),
        ("File 'x.pov' line 1: Possible Parse Error: Cannot find file 'y.inc', even after", None),
        ("Failed to parse command-line option", Trouble("Failed to parse command-line option", permanent=True)),
        (BY_ITSELF, Trouble(BY_ITSELF, again=True)),
        ("Fatal error in renderer: Out of memory.", Trouble("Fatal error in renderer: Out of memory.")),
        ("Persistence of Vision(tm) Ray Tracer Version 3.7.0.10.unofficial", None),
        ("", None),
    ],
)
def test_lines_of_povray_are_understood(line: str, meaning: object) -> None:
    assert POVRAY.read_line(line) == meaning


def test_a_program_that_is_missing_or_another_is_told(tmp_path: Path) -> None:
    missing = POVRAY.probe(str(tmp_path / "povray")).missing
    assert missing is not None
    assert "apt install povray" in missing
    other = POVRAY.probe("/bin/true").missing
    assert other is not None
    assert "does not say that it is POV-Ray" in other
