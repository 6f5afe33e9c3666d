"""Runs inside of a Python that has Mitsuba 3, and needs nothing else: renders one frame as one JSON argument says.

Where it fails it says `scene error: ...` (it would fail again) or `render error: ...`; the progress is Mitsuba's own.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import drjit
import mitsuba as mi


def main() -> int:
    order = json.loads(sys.argv[1])
    mi.set_variant("scalar_rgb")
    drjit.set_thread_count(0)  # the calling thread alone: a worker starts as many processes as there is room for
    mi.set_log_level(mi.LogLevel.Info)  # it says how far it is
    try:
        parameters: Any = _parameters(order)
        scene = mi.load_file(order["scene"], **parameters)
        sensor = _sensor(scene, order)
        integrator = _integrator(scene, order)
    except Exception as error:  # Mitsuba raises RuntimeError, ValueError and its own
        return _fail("scene", error)
    try:
        mi.render(scene, sensor=sensor, integrator=integrator, spp=order["spp"] or 0, seed=order["seed"])
        drjit.set_thread_count(2)  # without a second thread OpenEXR waits for ever for one that writes
        for name in order["outputs"]:
            _write(sensor.film().bitmap(), name)
    except Exception as error:
        return _fail("render", error)
    return 0


def _fail(kind: str, error: Exception) -> int:
    text = re.sub(r"^\[[^\]]*\] ", "", " ".join(str(error).split()))  # Mitsuba's own place in its source
    print(f"{kind} error: {text or type(error).__name__}", flush=True)  # noqa: T201 - this is how the worker hears it
    return 1


def _parameters(order: dict[str, Any]) -> dict[str, str]:
    """What the job sets, and the frame's number and clock where the scene uses them: Mitsuba refuses unused ones."""
    used = set(re.findall(r"\$\{?(\w+)", _texts(Path(order["scene"]), set())))
    frame = {name: value for name, value in order["frame"].items() if name in used}
    return {**frame, **order["parameters"]}


def _texts(path: Path, seen: set[Path]) -> str:
    """The text of a scene file and of those that it includes."""
    if path in seen or not path.is_file():
        return ""
    seen.add(path)
    text = path.read_text("utf-8", "replace")
    names = re.findall(r"<include\s+filename\s*=\s*[\"']([^\"'$]+)", text)
    return text + "".join(_texts(path.parent / name, seen) for name in names)


def _sensor(scene: Any, order: dict[str, Any]) -> Any:
    """The scene's first sensor, with the size that the job wants, and the tile."""
    sensors = scene.sensors()
    if not sensors:
        raise ValueError("the scene has no sensor: add a <sensor>")
    parameters = mi.traverse(sensors[0])
    width, height = sensors[0].film().size()
    size = [order["size"][0] or width, order["size"][1] or height]
    if size != [width, height]:
        parameters["film.size"] = size
        parameters.update()
    if order["tile"]:
        left, top, tile_width, tile_height = order["tile"]
        parameters["film.crop_offset"], parameters["film.crop_size"] = [left, top], [tile_width, tile_height]
        parameters.update()
    return sensors[0]


def _integrator(scene: Any, order: dict[str, Any]) -> Any:
    if order["integrator"] is None:
        return scene.integrator()
    depth = {} if order["max_depth"] is None else {"max_depth": order["max_depth"]}
    return mi.load_dict({"type": order["integrator"], **depth})


def _write(bitmap: Any, name: str) -> None:
    if name.endswith(".png"):
        picture = bitmap.split()[0][1] if bitmap.pixel_format() == mi.Bitmap.PixelFormat.MultiChannel else bitmap
        form = mi.Bitmap.PixelFormat.RGBA if picture.has_alpha() else mi.Bitmap.PixelFormat.RGB
        picture.convert(form, mi.Struct.Type.UInt8, srgb_gamma=True).write(name)
    else:
        bitmap.write(name)


if __name__ == "__main__":
    sys.exit(main())
