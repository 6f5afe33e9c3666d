"""Finds out what a .blend on a user's disk needs: with Blender where it is installed, and else as far as possible."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from distren import resources
from distren.domain.frameset import FrameSet
from distren.errors import SceneError
from distren.renderers.blender import header, packing
from distren.renderers.blender import program as blender
from distren.renderers.blender.packing import BlendFile, Packing, Reference
from distren.renderers.protocol import Scene

_WITHIN = 600.0
"""seconds that Blender gets to read a file; large scenes take minutes"""
_LISTED = 10
"""missing files that a message names"""


def read_scene(path: Path, settings: Mapping[str, str]) -> Scene:
    """What the .blend `path` needs. Raises SceneError for what is damaged, missing, or can not be rendered."""
    from distren import config  # what examines jobs loads this adapter without

    path = Path(os.path.abspath(path))  # noqa: PTH100  links are left alone: their names are what the file knows
    if not path.is_file():
        raise SceneError(f"there is no scene '{path}': correct the path")
    found = header.read(path)
    program = blender.find(config.load().programs.get(blender.NAME))
    if program is None:
        return _by_itself(path, found)
    scratch = Path(tempfile.mkdtemp(prefix="distren-blend-"))
    try:
        facts = _ask(program, path, scratch)
        scene = _packed(program, path, facts, settings, scratch)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    if scene.scratch is None:
        shutil.rmtree(scratch, ignore_errors=True)
    return scene


# -- without Blender -------------------------------------------------------------------------------------------------


def _by_itself(path: Path, found: header.Header) -> Scene:
    frames = _frames(found.first, found.last, 1)
    says = "" if frames is None else f"its frames are {frames}; "
    return Scene(
        root=path.parent,
        files=(Path(path.name),),
        settings={"blend": path.name},
        frames=frames,
        notes=(
            f"Blender is not installed here, so only {path.name} itself is sent: {says}textures and linked libraries "
            "are not looked for. Install Blender, or submit the folder that holds them all",
        ),
    )


# -- with Blender ----------------------------------------------------------------------------------------------------


def _ask(program: Sequence[str], path: Path, scratch: Path) -> dict[str, Any]:
    """What Blender says about a file."""
    answer = scratch / "facts.json"
    said = _run(program, "read_scene.py", str(answer), str(path))
    if not answer.is_file():
        raise SceneError(f"Blender can not read '{path.name}': {_reason(said)}")
    facts: dict[str, Any] = json.loads(answer.read_text("utf-8"))
    return facts


def _run(program: Sequence[str], script: str, *arguments: str) -> str:
    """Run one of our scripts in Blender, with no script of the file's own; returns what Blender said."""
    driver = resources.folder("workers") / "blender" / script
    command = (*program, "--factory-startup", "-b", "--disable-autoexec", "-noaudio", "--python-exit-code", "7")
    try:
        ran = subprocess.run(
            (*command, "-P", str(driver), "--", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_WITHIN,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SceneError(f"Blender did not read the scene within {_WITHIN:.0f} s") from None
    except OSError as error:
        raise SceneError(f"'{program[0]}' can not be run: {error.strerror or error}: correct 'programs'") from error
    return ran.stdout.decode("utf-8", "replace")


def _reason(said: str) -> str:
    """The line in which Blender says what is wrong."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "rror" in line or "nable" in line]
    return (errors or lines or ["it ended without a word"])[-1].removeprefix("RuntimeError: ").removeprefix("Error: ")


def _packed(
    program: Sequence[str], path: Path, facts: Mapping[str, Any], settings: Mapping[str, str], scratch: Path
) -> Scene:
    about = _chosen(facts, settings.get("scene"), path)
    blends = [
        BlendFile(path=Path(one["path"]), references=tuple(map(Reference.of, one["references"])))
        for one in facts["files"]
    ]
    plan = packing.plan(blends, Path.home())
    if plan.missing and settings.get("missing") != "ignore":
        raise SceneError(_missing(path, plan.missing))
    engine = {"engine": about["engine"]} if about["engine"] and "engine" not in settings else {}
    copies = _rewrite(program, plan, facts, scratch)
    kept = {place: file for file, place in plan.files.items() if file not in copies}
    moved = {place: file for place, file in kept.items() if plan.root / place != file}
    moved |= {plan.files[file]: copy for file, copy in copies.items()}
    return Scene(
        root=plan.root,
        files=tuple(Path(place) for place, file in sorted(kept.items()) if place not in moved),
        placed={Path(place): file for place, file in moved.items()},
        settings={"blend": plan.files[path].as_posix(), **engine},
        frames=_frames(about["start"], about["end"], about["step"]),
        width=about["width"],
        height=about["height"],
        notes=tuple(_notes(path, facts, about, settings, plan)),
        scratch=scratch if copies else None,
    )


def _chosen(facts: Mapping[str, Any], name: str | None, path: Path) -> Mapping[str, Any]:
    """The scene in the file that is meant."""
    scenes = {str(scene["name"]): scene for scene in facts["scenes"]}
    wanted = name or str(facts["scene"])
    if wanted not in scenes:
        raise SceneError(f"'{path.name}' has no scene '{wanted}'; there are: {', '.join(sorted(scenes))}")
    chosen: Mapping[str, Any] = scenes[wanted]
    return chosen


def _frames(first: int | None, last: int | None, step: int) -> FrameSet | None:
    """The file's range, None where it can not be one of frames: numbers are never negative here."""
    if first is None or last is None or first < 0 or last < first:
        return None
    return FrameSet((range(first, last + 1, step),))


def _missing(path: Path, missing: Sequence[str]) -> str:
    listed = "; ".join(missing[:_LISTED]) + (f"; and {len(missing) - _LISTED} more" if len(missing) > _LISTED else "")
    one = len(missing) == 1
    how_many, them = ("a file is", "it") if one else (f"{len(missing)} files are", "them")
    return (
        f"{path.name}: {how_many} missing ({listed}): put {them} there or correct the path in Blender, "
        "or go without with --set missing=ignore"
    )


def _rewrite(program: Sequence[str], plan: Packing, facts: Mapping[str, Any], scratch: Path) -> dict[Path, Path]:
    """Copies, in `scratch`, of the .blend files that need other paths, by the files that they are copies of."""
    if not plan.rewrites:
        return {}
    ours, versions = tuple(facts["program"]), {Path(one["path"]): tuple(one["version"]) for one in facts["files"]}
    records, copies = [], {}
    for number, one in enumerate(plan.rewrites, start=1):
        if versions[one.blend][:2] > ours[:2]:
            raise SceneError(
                f"'{one.blend.name}' names files by absolute paths and was saved by a newer Blender than the one here: "
                "open it there, choose File > External Data > Make Paths Relative, save, and submit again"
            )
        copies[one.blend] = target = scratch / f"{number}.blend"
        paths = [[*key, new] for key, new in one.paths.items()]
        compress = header.read(one.blend).compressed
        records.append({"blend": str(one.blend), "target": str(target), "compress": compress, "paths": paths})
    order = scratch / "rewrite.json"
    order.write_text(json.dumps(records), "utf-8")
    said = _run(program, "rewrite.py", str(order))
    for blend, copy in copies.items():
        if not copy.is_file():
            raise SceneError(f"Blender can not save a copy of '{blend.name}' with other paths: {_reason(said)}")
    return copies


def _notes(
    path: Path, facts: Mapping[str, Any], about: Mapping[str, Any], settings: Mapping[str, str], plan: Packing
) -> Iterator[str]:
    """What the user should know, though the job can be handed in."""
    if plan.missing:
        yield f"{len(plan.missing)} missing files are gone without: {'; '.join(plan.missing[:_LISTED])}"
    if not about["has_camera"] and "camera" not in settings:
        yield f"scene '{about['name']}' of {path.name} has no camera: name one with --set camera=NAME"
    if _frames(about["start"], about["end"], about["step"]) is None:
        ends = f"{about['start']} to {about['end']}"
        yield f"the frames of {path.name} are {ends}, and here none is below 0: give --frames"
    if about["film"] and "format" not in settings:
        yield "the file's output is a film: frames are rendered as PNG, choose another with --set format=..."
    if facts["unbaked"]:
        yield f"simulations are not baked, so frames may not fit together: {', '.join(facts['unbaked'][:_LISTED])}"
    if facts["drivers"] and settings.get("scripts") != "ignore":
        yield (
            f"the scene is driven by Python ({facts['drivers'][0]}): workers refuse it unless their owners allow "
            "scripts; --set scripts=ignore renders it without"
        )
