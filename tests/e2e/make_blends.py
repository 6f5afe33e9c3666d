"""Runs inside Blender: makes the small .blend files of the tests in the folder that is named after `--`."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy

HERE = Path(sys.argv[sys.argv.index("--") + 1])
TRAP = f"open({str(HERE / 'trap')!r}, 'w').close()"
"""what a script of a file does that must not be run"""


def picture(path: Path, color: tuple[float, float, float, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = bpy.data.images.new("made", 8, 8)
    image.generated_color, image.filepath_raw, image.file_format = color, str(path), "PNG"
    image.save()
    bpy.data.images.remove(image)


HOSTILE = """
import bpy, os, socket, subprocess
here = os.path.dirname(bpy.data.filepath)
def attempt(what, work):
    try:
        work()
        print("GOT", what, flush=True)
    except Exception as error:
        print("REFUSED", what, error, flush=True)
attempt("users", lambda: open("/etc/passwd").read())
attempt("folder", lambda: open("TRAP", "w"))
attempt("scene", lambda: open(bpy.data.filepath, "ab"))
attempt("network", lambda: socket.create_connection(("127.0.0.1", int(open(here + "/port").read())), 5))
subprocess.Popen("trap '' TERM HUP; (setsid sleep 300.4711 &) & setsid sleep 300.4711", shell=True)
if os.path.exists(here + "/fill"):
    for number in range(10**9):
        with open(f"/tmp/{number}", "wb") as file:
            file.write(b"x" * 1_000_000)
"""
"""what a script of a file does that is run, and comes to nothing; `port` and `fill` lie beside the file"""


def new():
    """A cube that moves through the six frames of a small picture."""
    bpy.ops.wm.read_factory_settings()
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = 1, 6
    render = scene.render
    render.engine, render.resolution_x, render.resolution_y, render.resolution_percentage = "CYCLES", 96, 64, 50
    scene.cycles.samples, scene.cycles.use_denoising = 3, False
    cube = bpy.data.objects["Cube"]
    cube.keyframe_insert("location", frame=1)
    cube.location.x = 2
    cube.keyframe_insert("location", frame=6)
    return scene


def save(name: str, **how) -> None:
    path = HERE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(path), relative_remap=False, **how)


def textured(name: str, images: list[str]) -> bpy.types.Material:
    """A material with `images`, of which the last is seen."""
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    tree = made.node_tree
    for path in images:
        node = tree.nodes.new("ShaderNodeTexImage")
        node.image = bpy.data.images.load(path, check_existing=True)
        tree.links.new(node.outputs["Color"], tree.nodes["Principled BSDF"].inputs["Base Color"])
    return made


def plain() -> None:
    scene = new()
    other = bpy.data.scenes.new("Other")
    other.frame_start, other.frame_end, other.frame_step = 10, 14, 2
    other.render.resolution_x, other.render.resolution_y = 20, 10
    lens = bpy.data.cameras.new("Second")
    second = bpy.data.objects.new("Second", lens)
    second.location, second.rotation_euler = (0, 0, 12), (0, 0, 0)
    scene.collection.objects.link(second)
    scene.view_layers.new("Empty").layer_collection.exclude = False
    for child in scene.view_layers["Empty"].layer_collection.children:
        child.exclude = True
    scene.view_layers["Empty"].use = False
    side = bpy.data.scenes.new("Side")
    side.render.engine, side.render.resolution_x, side.render.resolution_y = "CYCLES", 20, 10
    side.cycles.samples, side.cycles.use_denoising = 1, False
    for thing in ("Cube", "Light", "Second"):
        side.collection.objects.link(bpy.data.objects[thing])
    side.camera = second
    save("plain.blend")
    scene.view_layers["Empty"].use = True
    save("layers.blend")
    scene.view_layers["Empty"].use = False
    scene.cycles.use_adaptive_sampling, scene.cycles.samples = False, 1_000_000  # minutes
    save("slow.blend")
    scene.render.engine = "BLENDER_WORKBENCH"
    save("workbench.blend")


def with_files() -> None:
    picture(HERE / "far" / "wood.png", (0.9, 0.3, 0.1, 1))
    picture(HERE / "job" / "tex" / "near.png", (0.1, 0.3, 0.9, 1))
    for number in (1001, 1002):
        picture(HERE / "job" / "tex" / f"tile.{number}.png", (0.1, 0.9, 0.1, 1))
    picture(HERE / "job" / "parts" / "inside.png", (0.2, 0.8, 0.4, 1))
    new()
    bpy.data.objects["Cube"].data.materials.clear()
    bpy.data.objects["Cube"].data.materials.append(textured("Inside", [str(HERE / "job/parts/inside.png")]))
    bpy.data.images["inside.png"].filepath = "//inside.png"
    save("job/parts/library.blend")
    new()
    with bpy.data.libraries.load(str(HERE / "job/parts/library.blend"), link=True) as (_, wanted):
        wanted.materials = ["Inside"]
    cube = bpy.data.objects["Cube"]
    cube.data.materials.clear()
    cube.data.materials.append(wanted.materials[0])
    near, far = str(HERE / "job/tex/near.png"), str(HERE / "far/wood.png")
    bpy.ops.mesh.primitive_plane_add(size=9, location=(0, 0, -1))
    bpy.context.object.data.materials.append(textured("Floor", [near, str(HERE / "job/tex/tile.1001.png"), far]))
    bpy.data.images["near.png"].filepath = "//tex/near.png"
    bpy.data.images["tile.1001.png"].source = "TILED"
    bpy.data.images["tile.1001.png"].filepath = "//tex/tile.<UDIM>.png"
    save("job/files.blend", compress=True)


def lacking() -> None:
    new()
    gone = HERE / "gone.png"
    picture(gone, (1, 1, 1, 1))
    bpy.data.objects["Cube"].data.materials.append(textured("Gone", [str(gone)]))
    bpy.data.images["gone.png"].filepath = "//gone.png"
    save("lacking.blend")
    gone.unlink()


def hostile() -> None:
    new()
    text = bpy.data.texts.new("trap.py")
    text.write(TRAP)
    text.use_module = True
    save("script.blend")
    curve = bpy.data.objects["Cube"].driver_add("location", 1)
    curve.driver.type, curve.driver.expression = "SCRIPTED", f"len([{TRAP}])"
    save("driver.blend")
    new()
    text = bpy.data.texts.new("hostile.py")
    text.write(HOSTILE.replace("TRAP", str(HERE / "trap")))
    text.use_module = True
    save("hostile.blend")


plain()
with_files()
lacking()
hostile()
