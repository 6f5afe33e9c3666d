"""The adapter for Mitsuba, without Mitsuba: what a scene needs, how a frame is called, what the lines mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from distren.errors import JobFileError, SceneError
from distren.renderers.mitsuba import Mitsuba
from distren.renderers.protocol import AttemptFailed, Progress, Task, Trouble

MITSUBA = Mitsuba()
SCENE = """<scene version="3.0.0">
  <default name="mesh" value="ball"/>
  <default name="frame" value="1"/>
  <sensor type="perspective"><film type="hdrfilm">
    <integer name="width" value="64"/><integer name="height" value="48"/></film></sensor>
  <include filename="parts/light.xml"/>
  <shape type="ply"><string name="filename" value="meshes/$mesh.ply"/></shape>
</scene>"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {
        "scene.xml": SCENE,
        "parts/light.xml": '<scene version="3.0.0"><emitter type="envmap">\n'
        '<string name="filename" value="sky.exr"/></emitter><string name="note" value="other.txt"/></scene>',
        "parts/sky.exr": "",
        "meshes/ball.ply": "",
        "meshes/cube.ply": "",
        "other.txt": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_everything_that_a_scene_names_travels(folder: Path) -> None:
    found = MITSUBA.read_scene(folder / "scene.xml")
    names = [path.as_posix() for path in found.files]
    assert names == ["meshes/ball.ply", "other.txt", "parts/light.xml", "parts/sky.exr", "scene.xml"]
    assert (found.settings, found.width, found.height) == ({"scene": "scene.xml"}, 64, 48)
    other = MITSUBA.read_scene(folder / "scene.xml", {"param.mesh": "cube"})
    assert Path("meshes/cube.ply") in other.files


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("$mesh.ply", "none.ply", "scene.xml line 7: the file 'meshes/none.ply' is not beside the scene"),
        ("parts/light.xml", "parts/none.xml", "scene.xml line 6: the file 'parts/none.xml'"),
        ("</scene>", "", "scene.xml line 8: this is no well-formed XML"),
        ('<scene version="3.0.0">', "<job>", "well-formed"),
        ("meshes/$mesh.ply", "/etc/passwd", "absolute path"),
    ],
)
def test_what_is_wrong_with_a_scene_is_named_with_its_line(folder: Path, old: str, new: str, complaint: str) -> None:
    (folder / "scene.xml").write_text(SCENE.replace(old, new))
    with pytest.raises(SceneError, match=complaint):
        MITSUBA.read_scene(folder / "scene.xml")


def test_entities_of_a_scene_are_not_followed(folder: Path) -> None:
    bomb = '<!DOCTYPE scene [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + SCENE.replace("ball", "&x;")
    (folder / "scene.xml").write_text(bomb)
    with pytest.raises(SceneError):
        MITSUBA.read_scene(folder / "scene.xml")


def test_a_job_file_is_no_scene() -> None:
    assert MITSUBA.accepts(Path("a.xml"))
    assert not MITSUBA.accepts(Path("distrenjob.xml"))


def order(inputs: Path, settings: Mapping[str, str], frame: int = 3, last: int = 12) -> tuple[Any, list[Any]]:
    task = Task(
        frame=frame, first=1, last=last, width=32, height=24, settings=settings, inputs=inputs, output=inputs / "output"
    )
    made = MITSUBA.command(task, None)
    return json.loads(made.argv[-1]), [(one.name, one.width, one.height) for one in made.outputs]


def test_a_frame_is_one_order_to_the_program(folder: Path) -> None:
    given = {"scene": "scene.xml", "spp": "8", "seed": "40", "param.mesh": "cube", "integrator": "direct"}
    told, outputs = order(folder, given)
    assert told["scene"] == str(folder / "scene.xml")
    assert (told["spp"], told["seed"], told["integrator"], told["size"]) == (8, 43, "direct", [32, 24])
    assert told["parameters"] == {"mesh": "cube"}
    assert told["frame"] == {"frame": "3", "clock": str(2 / 11)}
    assert outputs == [("scene03.exr", 32, 24), ("scene03.png", 32, 24)]
    assert order(folder, {"scene": "scene.xml", "format": "png"}, 1, 1)[1] == [("scene.png", 32, 24)]


def test_a_tile_is_cropped(folder: Path) -> None:
    tile = {"tile-left": "8", "tile-top": "4", "tile-width": "6", "tile-height": "5"}
    told, outputs = order(folder, {"scene": "scene.xml", **tile})
    assert told["tile"] == [8, 4, 6, 5]
    assert outputs[0] == ("scene03.exr", 6, 5)


@pytest.mark.parametrize("value", ["../a", "/etc/passwd", '"', "<x>", "a\n", ""])
def test_parameters_lead_nowhere(value: str) -> None:
    with pytest.raises(JobFileError, match=r"param\.mesh"):
        MITSUBA.check({"scene": "scene.xml", "param.mesh": value})


def test_a_scene_that_leads_out_of_the_job_is_refused(folder: Path) -> None:
    (folder / "link.xml").symlink_to("/etc/passwd")
    with pytest.raises(AttemptFailed, match="holds no scene"):
        order(folder, {"scene": "link.xml"})


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("Rendering [===       ] (1.63s, ETA: 1.63s)", Progress(30.0)),
        ("scene error: no such thing", Trouble("no such thing", permanent=True)),
        ("render error: out of memory", Trouble("out of memory")),
        ("2026-11-24 15:20:49 INFO  Rendering finished.", None),
    ],
)
def test_lines_are_understood(line: str, meaning: object) -> None:
    assert MITSUBA.read_line(line) == meaning


def test_a_python_without_mitsuba_is_told() -> None:
    assert "has no package mitsuba" in (MITSUBA.probe("/bin/true").missing or "")
    assert "can not be run" in (MITSUBA.probe("/none/python").missing or "")
