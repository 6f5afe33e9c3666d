"""Runs inside Blender: makes of the gyroscope a shot that takes a while to load, and saves it.

    blender --factory-startup -b gyroscope.blend -P make_shot.py -- SHOT.blend PICTURE ...

The gyroscope gets a landscape: a mesh of STEPS x STEPS quads that is saved in the .blend, with a material of four
pictures that lie beside it. As shots of animations often are, it is saved with persistent data on: Blender keeps what
it has prepared of that which does not move, as long as it runs.
"""

from __future__ import annotations

import math
import sys

import bpy

STEPS = 600
HALF = 60.0
"""half of the landscape's edge, where the gyroscope is about 3 high"""
BELOW = -2.0
"""where the gyroscope stands"""
REPEATS = 8.0
"""times that the pictures are laid beside each other"""


def main(target: str, *pictures: str) -> None:
    landscape().materials.append(weathered(pictures))
    bpy.context.scene.render.use_persistent_data = True
    bpy.ops.wm.save_as_mainfile(filepath=target, relative_remap=True)


def landscape():
    """Hills that leave the middle flat."""
    line = [HALF * (2 * step / STEPS - 1) for step in range(STEPS + 1)]
    wide = STEPS + 1
    mesh = bpy.data.meshes.new("Landscape")
    mesh.from_pydata(
        [(x, y, height(x, y)) for y in line for x in line],
        [],
        [
            (row * wide + column, row * wide + column + 1, (row + 1) * wide + column + 1, (row + 1) * wide + column)
            for row in range(STEPS)
            for column in range(STEPS)
        ],
    )
    across = mesh.uv_layers.new(name="UV").data
    scale = REPEATS / (2 * HALF)
    across.foreach_set(
        "uv", [scale * mesh.vertices[loop.vertex_index].co[axis] for loop in mesh.loops for axis in (0, 1)]
    )
    mesh.polygons.foreach_set("use_smooth", [True] * len(mesh.polygons))
    bpy.context.collection.objects.link(bpy.data.objects.new("Landscape", mesh))
    return mesh


def height(x: float, y: float) -> float:
    far = min(max((math.hypot(x, y) - 6) / HALF, 0.0), 1.0)
    hills = sum(math.sin(k * x / 9 + 1.7 * k) * math.cos(k * y / 9 - 0.6 * k) / k for k in range(1, 6))
    return BELOW + 4 * far * hills


def weathered(pictures):
    """A material whose colour, roughness and relief are pictures."""
    made = bpy.data.materials.new("Weathered")
    made.use_nodes = True
    tree = made.node_tree
    shader, mix, bump = (tree.nodes["Principled BSDF"], *map(tree.nodes.new, ("ShaderNodeMixRGB", "ShaderNodeBump")))
    ends = (mix.inputs["Color1"], mix.inputs["Color2"], shader.inputs["Roughness"], bump.inputs["Height"])
    for picture, end in zip(pictures, ends, strict=True):
        node = tree.nodes.new("ShaderNodeTexImage")
        node.image = bpy.data.images.load(picture)
        tree.links.new(node.outputs["Color"], end)
    tree.links.new(mix.outputs["Color"], shader.inputs["Base Color"])
    tree.links.new(bump.outputs["Normal"], shader.inputs["Normal"])
    return made


if __name__ == "__main__":
    main(*sys.argv[sys.argv.index("--") + 1 :])
