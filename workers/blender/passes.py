"""Runs inside Blender: passes of the view layers, all in one file or in a file each, and the compositor's own files."""

from __future__ import annotations

import os
import re

from looks import Unusable

NAMES = {
    "z": "use_pass_z",
    "mist": "use_pass_mist",
    "position": "use_pass_position",
    "normal": "use_pass_normal",
    "vector": "use_pass_vector",
    "uv": "use_pass_uv",
    "object_index": "use_pass_object_index",
    "material_index": "use_pass_material_index",
    "ao": "use_pass_ambient_occlusion",
    "shadow": "use_pass_shadow",
    "emission": "use_pass_emit",
    "environment": "use_pass_environment",
    "diffuse_direct": "use_pass_diffuse_direct",
    "diffuse_indirect": "use_pass_diffuse_indirect",
    "diffuse_color": "use_pass_diffuse_color",
    "glossy_direct": "use_pass_glossy_direct",
    "glossy_indirect": "use_pass_glossy_indirect",
    "glossy_color": "use_pass_glossy_color",
    "transmission_direct": "use_pass_transmission_direct",
    "transmission_indirect": "use_pass_transmission_indirect",
    "transmission_color": "use_pass_transmission_color",
    "cryptomatte_object": "use_pass_cryptomatte_object",
    "cryptomatte_material": "use_pass_cryptomatte_material",
    "cryptomatte_asset": "use_pass_cryptomatte_asset",
}
"""What the setting `passes` may name, and the switch of a view layer for each."""
_MARK = "distren"
"""a property of the nodes that we add"""
_NOT_PASSES = frozenset(("Image", "Alpha"))


def enable(scene, settings: dict, name: str) -> None:
    """Switch on the passes that the settings name, and have them written to a file each where they say so."""
    wanted = [one for one in settings.get("passes", "").split(",") if one]
    layers = [layer for layer in scene.view_layers if layer.use]
    for layer in layers:
        for one in wanted:
            setattr(layer, NAMES[one], True)
    if settings.get("pass_files") == "separate":
        _separate(scene, layers, name)


def aim(scene, output: str, name: str) -> None:
    """Have every file that the compositor writes land in the folder `output`."""
    for node in _file_outputs(scene):
        folder = output if node.get(_MARK) else os.path.join(output, _plain(node.label or node.name))
        node.base_path = os.path.join(folder, f"{name}####") if _is_multilayer(node) else folder


def _is_multilayer(node) -> bool:
    return node.format.file_format == "OPEN_EXR_MULTILAYER"


def _file_outputs(scene) -> list:
    tree = getattr(scene, "node_tree", None)
    if tree is None or not scene.use_nodes:
        return []
    return [node for node in tree.nodes if node.bl_idname == "CompositorNodeOutputFile"]


def _separate(scene, layers, name: str) -> None:
    """Nodes that write each pass of each layer as <name>.<layer>.<pass>.NNNN.exr beside the image."""
    if not hasattr(scene, "node_tree"):  # Blender 5 has the compositor's nodes elsewhere
        raise Unusable("pass_files=separate needs Blender 3 or 4: use the format multilayer")
    had_nodes = scene.use_nodes and scene.node_tree is not None
    scene.use_nodes = True
    tree = scene.node_tree
    if not had_nodes:
        _only_the_image(tree)
    for layer in layers:
        source = tree.nodes.new("CompositorNodeRLayers")
        source.scene, source.layer, source[_MARK] = scene, layer.name, True
        target = tree.nodes.new("CompositorNodeOutputFile")
        target[_MARK] = True
        target.format.file_format, target.format.color_depth = "OPEN_EXR", "32"
        target.file_slots.clear()
        for socket in source.outputs:
            if socket.enabled and socket.name not in _NOT_PASSES:
                slot = ".".join(_plain(part) for part in (name, layer.name, socket.name))
                target.file_slots.new(f"{slot}.")
                tree.links.new(source.outputs[socket.name], target.inputs[len(target.inputs) - 1])


def _only_the_image(tree) -> None:
    """The plain chain, render to composite: nodes that the file holds but did not use must not come into it."""
    tree.nodes.clear()
    source, target = tree.nodes.new("CompositorNodeRLayers"), tree.nodes.new("CompositorNodeComposite")
    tree.links.new(source.outputs["Image"], target.inputs["Image"])
    tree.links.new(source.outputs["Alpha"], target.inputs["Alpha"])


def _plain(text: str) -> str:
    return re.sub(r"[^\w-]", "_", text).lower()
