"""Stands in for the program blender where only its Python module is installed: python blender_of_bpy.py ARGUMENTS.

Understands what DistRen says to blender, and does it in the order in which it is said, as blender does.
"""

from __future__ import annotations

import os
import runpy
import sys
import traceback

_IGNORED = frozenset(("-b", "-noaudio", "--disable-autoexec", "--enable-autoexec"))
"""what is so anyway, or looked at elsewhere"""


def main(arguments: list[str]) -> int:
    import bpy

    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    sys.argv = ["blender", *arguments]
    scripts, threads, bad = "--enable-autoexec" in own, None, 1
    words = iter(own)
    for word in words:
        if word == "--version":
            print(f"Blender {bpy.app.version_string}")
        elif word == "--factory-startup":
            bpy.ops.wm.read_factory_settings()
        elif word == "--python-exit-code":
            bad = int(next(words))
        elif word == "-t":
            threads = int(next(words))
        elif word == "-P":
            try:
                runpy.run_path(next(words), run_name="__main__")
            except Exception:
                traceback.print_exc()
                return bad
        elif word not in _IGNORED:
            _open(bpy, word, scripts, threads)
    return 0


def _open(bpy, path: str, scripts: bool, threads: int | None) -> None:
    try:
        bpy.ops.wm.open_mainfile(filepath=os.path.abspath(path), use_scripts=scripts)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return
    for scene in bpy.data.scenes if threads is not None else ():
        scene.render.threads_mode = "FIXED" if threads else "AUTO"
        scene.render.threads = threads or scene.render.threads


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # bpy may crash when it is taken down
