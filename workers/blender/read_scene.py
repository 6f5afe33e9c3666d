"""Runs inside Blender where a job is made: says what is in a .blend and in the libraries that it links.

    blender --factory-startup -b --disable-autoexec -P read_scene.py -- ANSWER.json FILE.blend

ANSWER.json holds `scenes`, the name of the `scene` that was open when the file was saved, `notes` for the user, and
for each file that was read its `path`, `version` and `references`.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import fields

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import bpy
import external
from looks import ENGINES

_SAID = [one.name for one in fields(external.Reference) if one.name != "rename"]


def main() -> None:
    answer, path = sys.argv[sys.argv.index("--") + 1 :][:2]
    facts = read(path)
    with open(answer, "w", encoding="utf-8") as file:
        json.dump(facts, file)
    sys.stdout.flush()
    os._exit(0)  # bpy may crash when it is taken down


def read(path: str) -> dict:
    _open(path)
    facts = {
        "program": list(bpy.app.version),
        "scene": bpy.context.scene.name,
        "scenes": [_scene(scene) for scene in bpy.data.scenes],
        "scripts": external.scripts(),
        "drivers": external.python_drivers(),
        "unbaked": external.unbaked(),
        "files": [_file(path)],
    }
    seen, unread = {path}, _libraries(facts["files"][0])
    while unread:
        library = unread.pop()
        if library not in seen:
            seen.add(library)
            _open(library)
            facts["files"].append(_file(library))
            unread += _libraries(facts["files"][-1])
    return facts


def _open(path: str) -> None:
    bpy.ops.wm.open_mainfile(filepath=path, load_ui=False, use_scripts=False)
    if bpy.data.filepath != path:
        raise RuntimeError(f"Blender did not open {path}")


def _file(path: str) -> dict:
    references = [{name: getattr(one, name) for name in _SAID} for one in external.references()]
    return {"path": path, "version": list(bpy.data.version), "references": references}


def _libraries(file: dict) -> list[str]:
    return [one["path"] for one in file["references"] if one["owner"].startswith("library ") and one["files"]]


def _scene(scene) -> dict:
    render = scene.render
    share = render.resolution_percentage
    return {
        "name": scene.name,
        "start": scene.frame_start,
        "end": scene.frame_end,
        "step": scene.frame_step,
        "width": render.resolution_x * share // 100,
        "height": render.resolution_y * share // 100,
        "has_camera": scene.camera is not None or any(marker.camera for marker in scene.timeline_markers),
        "film": render.is_movie_format,
        "engine": next((name for name in ("eevee", "workbench") if render.engine in ENGINES[name]), None),
        "view_layers": [layer.name for layer in scene.view_layers],
    }


if __name__ == "__main__":
    main()
