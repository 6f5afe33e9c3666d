"""Makes gyroscope.blend, the example for Blender: rings of metal turn around a ball of glass, lights fly around them.

    blender --factory-startup -b -P make_gyroscope.py -- gyroscope.blend

A loop of 48 frames, rendered by Cycles in about two seconds of processor time each (640x360). Everything is made here.
There is little noise at few samples by design, since Debian's Blender can not denoise: smooth surfaces that reflect a
world of soft lights need few samples, and so do small lamps.
"""

from __future__ import annotations

import math
import sys

import bpy
from mathutils import Vector

FRAMES = 48
TURN = 2 * math.pi


def main(path: str) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    settings(scene)
    world(scene)
    stage()
    rings()
    ball()
    lights()
    camera(scene)
    bpy.ops.wm.save_as_mainfile(filepath=path, compress=True, check_existing=False)


def settings(scene) -> None:
    scene.frame_start, scene.frame_end = 1, FRAMES
    render, cycles = scene.render, scene.cycles
    render.engine, render.fps = "CYCLES", 24
    render.resolution_x, render.resolution_y = 640, 360
    # most of the picture is calm: the samples go where it is not
    cycles.use_denoising, cycles.use_adaptive_sampling = False, True
    cycles.samples, cycles.adaptive_min_samples, cycles.adaptive_threshold = 48, 6, 0.1
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces, cycles.transmission_bounces = 4, 0, 2, 4
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.sample_clamp_direct, cycles.sample_clamp_indirect = 4.0, 0.3
    cycles.blur_glossy = 1.0
    render.image_settings.file_format = "PNG"
    scene.view_settings.view_transform, scene.view_settings.look = "Filmic", "Medium High Contrast"
    scene.view_settings.exposure = 0.35


def world(scene) -> None:
    """Dark blue to the eye; to everything that reflects it, a studio: soft boxes above and at the sides."""
    scene.world = bpy.data.worlds.new("Studio")
    # a map of where the light comes from is made for each frame: its usual size takes longer than the picture
    scene.world.cycles.sampling_method, scene.world.cycles.sample_map_resolution = "MANUAL", 128
    scene.world.use_nodes = True
    tree = scene.world.node_tree
    tree.nodes.clear()
    node, link = tree.nodes.new, tree.links.new
    direction = node("ShaderNodeTexCoord").outputs["Generated"]
    total = None
    boxes = (  # towards, how wide (cosine), colour, strength
        ((-0.7, -0.45, 0.75), 0.80, (1.0, 0.78, 0.52), 7.0),
        ((0.9, -0.1, 0.35), 0.86, (0.45, 0.66, 1.0), 6.0),
        ((0.25, 0.95, 0.12), 0.955, (1.0, 0.30, 0.16), 1.6),
        ((0.0, -0.2, 1.0), 0.93, (0.9, 0.95, 1.0), 5.0),
    )
    for towards, width, color, strength in boxes:
        dot = node("ShaderNodeVectorMath")
        dot.operation = "DOT_PRODUCT"
        link(direction, dot.inputs[0])
        dot.inputs[1].default_value = Vector(towards).normalized()
        edge = node("ShaderNodeMapRange")
        edge.interpolation_type = "SMOOTHSTEP"
        link(dot.outputs["Value"], edge.inputs["Value"])
        edge.inputs["From Min"].default_value, edge.inputs["From Max"].default_value = width - 0.04, width + 0.05
        edge.inputs["To Max"].default_value = strength
        box = node("ShaderNodeMixRGB")
        box.blend_type = "MULTIPLY"
        box.inputs["Fac"].default_value = 1.0
        link(edge.outputs["Result"], box.inputs["Color1"])
        box.inputs["Color2"].default_value = (*color, 1.0)
        if total is None:
            total = box.outputs["Color"]
        else:
            add = node("ShaderNodeMixRGB")
            add.blend_type, add.inputs["Fac"].default_value = "ADD", 1.0
            link(total, add.inputs["Color1"])
            link(box.outputs["Color"], add.inputs["Color2"])
            total = add.outputs["Color"]
    ambient = node("ShaderNodeMixRGB")
    ambient.blend_type, ambient.inputs["Fac"].default_value = "ADD", 1.0
    link(total, ambient.inputs["Color1"])
    ambient.inputs["Color2"].default_value = (0.020, 0.032, 0.060, 1.0)
    halo = node("ShaderNodeVectorMath")
    halo.operation = "DOT_PRODUCT"
    link(direction, halo.inputs[0])
    halo.inputs[1].default_value = Vector((0, 1, -0.05)).normalized()
    near = node("ShaderNodeMapRange")
    near.interpolation_type = "SMOOTHERSTEP"
    link(halo.outputs["Value"], near.inputs["Value"])
    near.inputs["From Min"].default_value, near.inputs["From Max"].default_value = 0.91, 1.0
    night = node("ShaderNodeMixRGB")
    link(near.outputs["Result"], night.inputs["Fac"])
    night.inputs["Color1"].default_value = (0.0015, 0.002, 0.005, 1.0)
    night.inputs["Color2"].default_value = (0.013, 0.024, 0.055, 1.0)
    seen = node("ShaderNodeBackground")
    link(night.outputs["Color"], seen.inputs["Color"])
    reflected = node("ShaderNodeBackground")
    link(ambient.outputs["Color"], reflected.inputs["Color"])
    mix, eye = node("ShaderNodeMixShader"), node("ShaderNodeLightPath")
    link(eye.outputs["Is Camera Ray"], mix.inputs["Fac"])
    link(reflected.outputs["Background"], mix.inputs[1])
    link(seen.outputs["Background"], mix.inputs[2])
    link(mix.outputs["Shader"], node("ShaderNodeOutputWorld").inputs["Surface"])


def material(name: str, **values) -> bpy.types.Material:
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    shader = made.node_tree.nodes["Principled BSDF"]
    for key, value in values.items():
        shader.inputs[key.replace("_", " ")].default_value = value
    return made


def stage() -> None:
    """A round table of dark stone in the night."""
    bpy.ops.mesh.primitive_circle_add(vertices=128, radius=2.55, fill_type="NGON", location=(0, 0, -1.62))
    floor = bpy.context.object
    floor.name = "Floor"
    made = material("Dark stone", Base_Color=(0.004, 0.005, 0.008, 1), Roughness=0.035, Specular=0.35)
    floor.data.materials.append(made)
    bpy.ops.mesh.primitive_cylinder_add(vertices=128, radius=0.92, depth=0.16, location=(0, 0, -1.54))
    foot = bpy.context.object
    foot.name = "Foot"
    bevel = foot.modifiers.new("Bevel", "BEVEL")
    bevel.width, bevel.segments = 0.045, 4
    bpy.ops.object.shade_smooth(use_auto_smooth=True)
    foot.data.materials.append(material("Gunmetal", Base_Color=(0.13, 0.14, 0.16, 1), Metallic=1.0, Roughness=0.07))


def ring(name: str, radius: float, width: float, thickness: float, look, parent=None):
    """A flat ring with rounded edges around the z axis."""
    bpy.ops.mesh.primitive_cylinder_add(vertices=160, radius=radius, depth=width)
    outer = bpy.context.object
    bpy.ops.mesh.primitive_cylinder_add(vertices=160, radius=radius - thickness, depth=width * 2)
    inner = bpy.context.object
    cut = outer.modifiers.new("Hole", "BOOLEAN")
    cut.operation, cut.object, cut.solver = "DIFFERENCE", inner, "EXACT"
    bpy.context.view_layer.objects.active = outer
    bpy.ops.object.modifier_apply(modifier="Hole")
    bpy.data.objects.remove(inner)
    bevel = outer.modifiers.new("Bevel", "BEVEL")
    bevel.width, bevel.segments, bevel.limit_method = min(width, thickness) * 0.22, 4, "ANGLE"
    bpy.ops.object.select_all(action="DESELECT")
    outer.select_set(True)
    bpy.ops.object.shade_smooth(use_auto_smooth=True)
    outer.name, outer.parent = name, parent
    outer.data.materials.append(look)
    return outer


def pin(name: str, at: float, radius: float, length: float, look, parent) -> None:
    """A pivot between two rings, on the x axis."""
    bpy.ops.mesh.primitive_cylinder_add(vertices=48, radius=radius, depth=length, rotation=(0, math.pi / 2, 0))
    made = bpy.context.object
    made.location.x = at
    bevel = made.modifiers.new("Bevel", "BEVEL")
    bevel.width, bevel.segments = radius * 0.3, 3
    bpy.ops.object.shade_smooth(use_auto_smooth=True)
    made.name, made.parent = name, parent
    made.data.materials.append(look)


def turning(thing, axis: int, turns: int, start: float = 0.0) -> None:
    """Whole turns in the loop, at an even pace: frame FRAMES + 1 would be frame 1 again."""
    thing.rotation_euler[axis] = start
    thing.keyframe_insert("rotation_euler", index=axis, frame=1)
    thing.rotation_euler[axis] = start + turns * TURN
    thing.keyframe_insert("rotation_euler", index=axis, frame=FRAMES + 1)
    for curve in thing.animation_data.action.fcurves:
        curve.extrapolation = "LINEAR"
        for point in curve.keyframe_points:
            point.interpolation = "LINEAR"


def rings() -> None:
    gold = material("Gold", Base_Color=(1.0, 0.62, 0.19, 1), Metallic=1.0, Roughness=0.045)
    copper = material("Copper", Base_Color=(0.93, 0.36, 0.20, 1), Metallic=1.0, Roughness=0.055)
    steel = material("Steel", Base_Color=(0.72, 0.75, 0.80, 1), Metallic=1.0, Roughness=0.03)
    dark = bpy.data.materials["Gunmetal"]
    stand = bpy.data.objects.new("Stand", None)
    bpy.context.collection.objects.link(stand)
    frame = ring("Frame", 1.46, 0.20, 0.09, dark, stand)
    frame.rotation_euler = (math.pi / 2, 0, math.radians(18))
    studs(frame, gold)
    first = ring("Steel ring", 1.24, 0.17, 0.08, steel, frame)
    pin("Pivot 1", 1.29, 0.045, 0.26, gold, frame)
    pin("Pivot 2", -1.29, 0.045, 0.26, gold, frame)
    turning(first, 0, 1, 0.5)
    # each next ring hangs in the one before it, a quarter of a turn further round
    second = hung("Gold ring", 1.04, 0.16, 0.08, gold, first, steel)
    turning(second, 0, -1, 0.9)
    third = hung("Copper ring", 0.84, 0.15, 0.07, copper, second, gold)
    turning(third, 0, 2, 0.2)


def hung(name: str, radius: float, width: float, thickness: float, look, outer, metal):
    axle = bpy.data.objects.new(f"{name} axle", None)
    bpy.context.collection.objects.link(axle)
    axle.parent, axle.rotation_euler = outer, (0, 0, math.pi / 2)
    for number, side in enumerate((1, -1), start=1):
        pin(f"{name} pivot {number}", side * (radius + 0.05), 0.04, 0.24, metal, axle)
    return ring(name, radius, width, thickness, look, axle)


def studs(frame, look) -> None:
    """Small hemispheres around the frame, like the marks of an instrument."""
    bpy.ops.mesh.primitive_uv_sphere_add(segments=20, ring_count=12, radius=0.028)
    first = bpy.context.object
    bpy.ops.object.shade_smooth()
    first.data.materials.append(look)
    for number in range(24):
        one = first if not number else bpy.data.objects.new("Stud", first.data)
        if number:
            bpy.context.collection.objects.link(one)
        angle = TURN * number / 24
        one.name, one.parent = f"Stud {number + 1}", frame
        one.location = (1.415 * math.cos(angle), 1.415 * math.sin(angle), 0.1)


def ball() -> None:
    """A ball of glass with a glowing seed in it."""
    bpy.ops.mesh.primitive_uv_sphere_add(segments=96, ring_count=48, radius=0.55)
    glass = bpy.context.object
    glass.name = "Glass"
    bpy.ops.object.shade_smooth()
    glass.data.materials.append(clear_glass())
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=4, radius=0.13)
    seed = bpy.context.object
    seed.name = "Seed"
    bpy.ops.object.shade_smooth()
    seed.visible_glossy = seed.visible_diffuse = False
    seed.data.materials.append(glow("Seed glow", (1.0, 0.30, 0.05), 3.2))


def clear_glass():
    """Glass that only refracts, with a rim of light: to choose between reflection and refraction at random is noise."""
    made = bpy.data.materials.new("Glass")
    made.use_nodes = True
    made.cycles.sample_as_light = False
    tree = made.node_tree
    tree.nodes.clear()
    node, link = tree.nodes.new, tree.links.new
    clear, rim, sum_of_both = node("ShaderNodeBsdfRefraction"), node("ShaderNodeEmission"), node("ShaderNodeAddShader")
    clear.inputs["Color"].default_value, clear.inputs["Roughness"].default_value = (0.93, 0.98, 1.0, 1), 0.0
    clear.inputs["IOR"].default_value, rim.inputs["Color"].default_value = 1.38, (0.45, 0.66, 1.0, 1)
    facing, narrow = node("ShaderNodeLayerWeight"), node("ShaderNodeMapRange")
    facing.inputs["Blend"].default_value, narrow.interpolation_type = 0.25, "SMOOTHERSTEP"
    narrow.inputs["From Min"].default_value, narrow.inputs["To Max"].default_value = 0.35, 0.5
    link(facing.outputs["Facing"], narrow.inputs["Value"])
    link(narrow.outputs["Result"], rim.inputs["Strength"])
    link(clear.outputs["BSDF"], sum_of_both.inputs[0])
    link(rim.outputs["Emission"], sum_of_both.inputs[1])
    link(sum_of_both.outputs["Shader"], node("ShaderNodeOutputMaterial").inputs["Surface"])
    return made


def glow(name: str, color: tuple, strength: float):
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    tree = made.node_tree
    tree.nodes.clear()
    emission, output = tree.nodes.new("ShaderNodeEmission"), tree.nodes.new("ShaderNodeOutputMaterial")
    emission.inputs["Color"].default_value, emission.inputs["Strength"].default_value = (*color, 1), strength
    tree.links.new(emission.outputs["Emission"], output.inputs["Surface"])
    made.cycles.sample_as_light = False  # lamps light the scene; these are only seen, the brighter in their middle
    rim, core = tree.nodes.new("ShaderNodeLayerWeight"), tree.nodes.new("ShaderNodeMapRange")
    core.inputs["To Min"].default_value, core.inputs["To Max"].default_value = strength, strength * 0.25
    tree.links.new(rim.outputs["Facing"], core.inputs["Value"])
    tree.links.new(core.outputs["Result"], emission.inputs["Strength"])
    return made


def lights() -> None:
    """Fireflies on tilted orbits, each with a lamp, and a row of far ones out of focus."""
    colors = ((1.0, 0.55, 0.18), (0.25, 0.6, 1.0), (1.0, 0.22, 0.32))
    for number, color in enumerate(colors):
        orbit = bpy.data.objects.new(f"Orbit {number + 1}", None)
        bpy.context.collection.objects.link(orbit)
        tilt = bpy.data.objects.new(f"Tilt {number + 1}", None)
        bpy.context.collection.objects.link(tilt)
        tilt.rotation_euler = (math.radians(14 + 9 * number), math.radians(-12 + 12 * number), 0)
        orbit.parent = tilt
        turning(orbit, 2, 1 if number != 1 else -1, TURN * number / 3 + 0.7)
        bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=3, radius=0.05)
        bead = bpy.context.object
        bead.name, bead.parent, bead.location = f"Firefly {number + 1}", orbit, (1.95, 0, 0)
        bpy.ops.object.shade_smooth()
        bead.data.materials.append(glow(f"Firefly {number + 1}", color, 7.0))
        bead.visible_shadow = bead.visible_glossy = False
        lamp = bpy.data.lights.new(f"Lamp {number + 1}", "POINT")
        lamp.energy, lamp.color, lamp.shadow_soft_size = 60.0, color, 0.05
        hung_lamp = bpy.data.objects.new(f"Lamp {number + 1}", lamp)
        bpy.context.collection.objects.link(hung_lamp)
        hung_lamp.parent, hung_lamp.location = orbit, (1.95, 0, 0)
        hung_lamp.visible_glossy = hung_lamp.visible_transmission = hung_lamp.visible_camera = False
    for number in range(11):
        angle = math.radians(38 + 10.5 * number)
        distance = 7.5 + 1.8 * math.sin(number * 2.4)
        bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=2, radius=0.11)
        bead = bpy.context.object
        bead.name = f"Far light {number + 1}"
        bead.location = (
            distance * math.cos(angle),
            distance * math.sin(angle),
            -0.9 + 1.5 * math.sin(number * 1.7) ** 2,
        )
        bead.data.materials.append(glow(bead.name, colors[number % 3], 2.2))
        bead.visible_shadow = False


def camera(scene) -> None:
    lens = bpy.data.cameras.new("Camera")
    lens.lens, lens.dof.use_dof = 52.0, True
    lens.dof.focus_object, lens.dof.aperture_fstop = bpy.data.objects["Glass"], 2.0
    eye = bpy.data.objects.new("Camera", lens)
    arm = bpy.data.objects.new("Camera arm", None)
    for thing in (eye, arm):
        bpy.context.collection.objects.link(thing)
    eye.parent, eye.location = arm, (0, -7.9, 1.05)
    eye.rotation_euler = (math.radians(82.6), 0, 0)
    scene.camera = eye
    for frame in range(1, FRAMES + 2, 4):  # a slow sway, that comes back to where it began
        arm.rotation_euler.z = math.radians(7) * math.sin(TURN * (frame - 1) / FRAMES)
        arm.keyframe_insert("rotation_euler", index=2, frame=frame)


if __name__ == "__main__":
    main(sys.argv[sys.argv.index("--") + 1])
