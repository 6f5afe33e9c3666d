"""Runs inside Blender where a job is made: saves copies of .blend files in which other paths stand for their files.

    blender --factory-startup -b --disable-autoexec -P rewrite.py -- PLAN.json

PLAN.json is a list of objects: `blend`, the `target` to save, `compress`, and `paths`: lists of owner, path in the
file, and the path to write instead (as external.py gives them).
"""

from __future__ import annotations

import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import bpy
import external


def main() -> None:
    with open(sys.argv[sys.argv.index("--") + 1], encoding="utf-8") as file:
        plan = json.load(file)
    for one in plan:
        bpy.ops.wm.open_mainfile(filepath=one["blend"], load_ui=False, use_scripts=False)
        paths = {(owner, raw): new for owner, raw, new in one["paths"]}
        for reference in list(external.references()):
            new = paths.get((reference.owner, reference.raw))
            if new is not None:
                reference.rename(new)
        bpy.ops.wm.save_as_mainfile(
            filepath=one["target"], copy=True, relative_remap=False, compress=one["compress"], check_existing=False
        )
    sys.stdout.flush()
    os._exit(0)  # bpy may crash when it is taken down


if __name__ == "__main__":
    main()
