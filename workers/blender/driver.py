"""Runs inside Blender: renders one frame after the other of the file that was loaded, as the worker asks for them.

    blender --factory-startup -b FILE.blend -P driver.py -- PLAN

PLAN is a JSON object: `name` (of the files), `size` (pixels of the whole image, 0 for what the file says), `settings`,
`slot`, `scripts`.
Standard input is a socket: each line that comes is a JSON object with `output` (an empty folder) and `frame`, and
perhaps `tile` (left, top, width, height in pixels); each answer is a line, too: `files` that were written, or `trouble`
with `permanent`. The end of the socket is the end of Blender. See docs/reference/blender.md.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
import sys
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import bpy
import devices
import external
import looks
import passes
import tiles
from looks import Unusable

_IMAGES = frozenset((".png", ".jpg", ".exr", ".tif", ".webp", ".hdr", ".bmp", ".tga", ".jp2", ".dpx", ".cin"))
_MOST_FILES = 10_000
_LISTED = 8
"""missing files that a message names"""


def main() -> None:
    plan = json.loads(sys.argv[sys.argv.index("--") + 1])
    if bpy.app.version >= (5, 0):  # which says nothing while it renders, unlike those before it
        bpy.app.handlers.render_stats.append(_tell_progress)
    with socket.socket(fileno=os.dup(0)) as channel:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        problem = _attempt(lambda: _prepare(plan))
        for line in channel.makefile("rb"):
            answer = problem or _attempt(lambda line=line: _render(plan, json.loads(line)))
            _flush()
            channel.sendall(json.dumps(answer).encode() + b"\n")
    os._exit(0)  # bpy may crash when it is taken down


def _tell_progress(text, *_) -> None:
    """Say how far a frame is, as older Blenders do."""
    print(f"Fra:{bpy.context.scene.frame_current} {text}", flush=True)


def _attempt(work) -> dict | None:
    """What `work` gives, or what went wrong with it."""
    try:
        return work()
    except Unusable as error:
        return {"trouble": str(error), "permanent": error.permanent}
    except Exception as error:
        traceback.print_exc()
        return {"trouble": f"Blender: {_one_line(error)}", "permanent": False}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).removeprefix("Error: ") or repr(error)


def _prepare(plan: dict) -> None:
    """Bring the scene into the state in which every frame is rendered."""
    if not bpy.data.filepath:
        raise Unusable("Blender did not load the file")
    settings = plan["settings"]
    scene = looks.scene(settings)
    bpy.context.window.scene = scene
    if settings.get("missing") != "ignore":
        _check_files()
    if not plan["scripts"] and settings.get("scripts") != "ignore":
        _check_drivers()
    looks.apply(scene, settings, plan["size"])
    devices.choose(scene, settings.get("device", "file"), plan["slot"])
    passes.enable(scene, settings, plan["name"])


def _check_files() -> None:
    missing = sorted({f"{one.owner}: {one.raw}" for one in external.references() if one.needed and not one.exists})
    if missing:
        more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        raise Unusable(
            f"files are missing ({'; '.join(missing[:_LISTED])}{more}): submit them with the scene, "
            "or go without them with the setting missing=ignore"
        )


def _check_drivers() -> None:
    blocked = external.python_drivers()
    if blocked:
        raise Unusable(
            f"the scene is driven by Python ({blocked[0]}), which this worker does not run: its owner can allow it "
            "with the setting scene_scripts; or go without with the setting scripts=ignore"
        )


def _render(plan: dict, request: dict) -> dict:
    scene = bpy.context.scene
    output, frame = request["output"], int(request["frame"])
    scene.render.filepath = os.path.join(output, f"{plan['name']}####")
    scene.frame_start = scene.frame_end = frame
    looks.check(scene)
    passes.aim(scene, output, plan["name"])
    with tiles.cropped(scene, request.get("tile")) as (width, height):
        try:
            bpy.ops.render.render(animation=True, scene=scene.name)
        except RuntimeError as error:
            raise Unusable(f"Blender: {_one_line(error)}", permanent=looks.is_permanent(str(error))) from error
    return {"files": list(_written(output, width, height, plan["name"], _channels(scene)))}


def _channels(scene) -> int | None:
    """How many channels the image itself has; None where that is not known beforehand."""
    image = scene.render.image_settings
    counted = image.file_format in ("PNG", "OPEN_EXR", "TIFF")
    return {"RGB": 3, "RGBA": 4}.get(image.color_mode) if counted else None


def _written(output: str, width: int, height: int, own: str, channels: int | None):
    """Everything in the folder `output`, but for the results of other frames that lie in `needs`.

    `channels` are those of the image itself, whose name is `own` and the frame's number.
    """
    found = []
    for folder, folders, names in os.walk(output):
        if folder == output and "needs" in folders:
            folders.remove("needs")
        found += [os.path.relpath(os.path.join(folder, name), output) for name in names]
    for name in sorted(found)[:_MOST_FILES]:
        image = os.path.splitext(name)[1].lower() in _IMAGES
        about = {"width": width, "height": height} if image else {}
        if image and channels and re.fullmatch(re.escape(own) + r"\d+\.\w+", name):
            about["channels"] = channels
        yield {"name": name, "image": image} | about


def _flush() -> None:
    """Have everything that was said on its way before the answer is."""
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)


if __name__ == "__main__":
    main()
