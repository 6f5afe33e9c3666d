"""A POV-Ray frame that uses the image of another one."""

from __future__ import annotations

from pathlib import Path

import OpenImageIO
from farm_processes import FarmProcesses

JOB = """<job xmlns="urn:distren:job:1" name="chain" renderer="povray">
  <image width="32" height="24"/>
  <frames ids="1-3"/>
  <needs frames="2" all="frame/1"/>
  <needs frames="3" all="{other}"/>
  <settings xmlns="urn:distren:renderer:povray:1" scene="chain.pov"/>
</job>
"""
SCENE = """
#version 3.7;
global_settings { assumed_gamma 1.0 }
camera { orthographic location <0.5, 0.5, -1> look_at <0.5, 0.5, 0> right x up y }
#if (frame_number = 2)
  plane { z, 0 pigment { image_map { png "needs/frame/1/chain1.png" } } finish { ambient 0 emission 1 } }
#else #if (frame_number = 3)
  plane { z, 0 pigment { image_map { png concat("needs/%d/frame/2/chain2.png") } } finish { ambient 0 emission 1 } }
#else
  plane { z, 0 pigment { rgb <1, 0.2, 0> } finish { ambient 0 emission 1 } }
#end #end
"""


def test_a_frame_uses_the_image_of_another_one(farm: FarmProcesses, tmp_path: Path) -> None:
    first = submit(farm, tmp_path / "first", "frame/2", "needs/frame/2")
    second = submit(farm, tmp_path / "second", f"distren://alpha/{first}/frame/2", f"needs/{first}/frame/2")
    pictures = [tmp_path / f"out-{job}" / f"chain{frame}.png" for job in (first, second) for frame in (1, 2, 3)]
    colours = [OpenImageIO.ImageBuf(str(path)).getpixel(16, 12)[:3] for path in pictures]
    assert colours[0][0] > 0.9 > 0.6 > colours[0][1] > 0.1 > colours[0][2]
    assert all(abs(a - b) < 0.02 for colour in colours for a, b in zip(colour, colours[0], strict=True))


def submit(farm: FarmProcesses, folder: Path, other: str, place: str) -> str:
    folder.mkdir()
    (folder / "distrenjob.xml").write_text(JOB.format(other=other))
    (folder / "chain.pov").write_text(SCENE.replace("needs/%d/frame/2", place))
    command = farm.distren("submit", str(folder), "--wait", "--json")
    assert command.code == 0, command.err + farm.distren("frames", "1").out
    job = str(command.json["job"])
    assert farm.distren("fetch", job, "-o", str(folder.parent / f"out-{job}")).code == 0
    return job


def test_what_a_blocked_frame_waits_for_is_shown(farm: FarmProcesses, tmp_path: Path) -> None:
    (tmp_path / "distrenjob.xml").write_text(
        JOB.format(other="frame/2").replace('renderer="povray"', 'renderer="povray" pool="night"')
    )
    (tmp_path / "chain.pov").write_text(SCENE)
    job = farm.distren("submit", str(tmp_path), "--json").json["job"]
    last = farm.distren("frames", str(job), "--json").json[-1]
    assert (last["state"], last["waits_for"]) == ("blocked", 1)
    assert last["reason"] == f"waits for distren://alpha/{job}/frame/2"
    assert "waits for" in farm.distren("frames", str(job)).out
    farm.distren("cancel", str(job))


def test_a_cycle_is_refused_where_it_is_packed(farm: FarmProcesses, tmp_path: Path) -> None:
    (tmp_path / "distrenjob.xml").write_text(
        JOB.format(other="frame/2").replace('frames="2" all="frame/1"', 'frames="2" all="frame/3"')
    )
    (tmp_path / "chain.pov").write_text(SCENE)
    command = farm.distren("submit", str(tmp_path))
    assert command.code == 3
    assert "cycle: frame/2 → frame/3 → frame/2" in command.err or "cycle: frame/3 → frame/2 → frame/3" in command.err
