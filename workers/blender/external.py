"""Runs inside Blender: finds the files outside of the .blend that it refers to, and lets them be renamed."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import bpy


@dataclass
class Reference:
    """A file (or several, or a folder) that `owner` names as `raw`; `path` is where that leads on this machine.

    `files` are those that are there; `folder`: everything below `path` belongs to it; `needed`: pictures come out wrong
    without it. `rename` takes the path of what `path` names now.
    """

    owner: str
    raw: str
    path: str
    rename: Callable[[str], None] = field(repr=False)
    folder: bool = False
    needed: bool = True
    files: list[str] = field(default_factory=list)

    @property
    def exists(self) -> bool:
        return bool(self.files)


def references() -> Iterator[Reference]:
    """Everything outside of the loaded file that its datablocks name; those of linked libraries are their own."""
    yield from _libraries()
    yield from _images()
    yield from _plain()
    yield from _sequences()
    yield from _modifiers()
    yield from _nodes()
    yield from _point_caches()


def python_drivers() -> list[str]:
    """What is driven by Python expressions that Blender has not evaluated, since scripts are off: `<owner> <property>`.

    Harmless ones (arithmetic, sin(frame)) it evaluates all the same.
    """
    found = []
    for block in _all_blocks():
        data = getattr(block, "animation_data", None)
        for curve in data.drivers if data is not None else ():
            driver = curve.driver
            if driver.type == "SCRIPTED" and not driver.is_simple_expression and not driver.is_valid:
                found.append(f"{block.name} {curve.data_path}")
    return found


def scripts() -> list[str]:
    """The texts that the file wants run when it is opened."""
    return [text.name for text in bpy.data.texts if text.use_module]


def unbaked() -> list[str]:
    """Simulations that are not baked, so that a frame depends on those that were computed before it."""
    names = [
        f"{owner.name} ({what})"
        for owner, what, cache in _caches()
        if not (cache.is_baked or cache.use_external) and what != "particles"
    ]
    return sorted(set(names))


# -- kinds -----------------------------------------------------------------------------------------------------------


def _libraries() -> Iterator[Reference]:
    for library in bpy.data.libraries:
        yield _file(library, "filepath", f"library '{library.name}'", base=None)


def _images() -> Iterator[Reference]:
    for image in bpy.data.images:
        if image.source not in ("FILE", "SEQUENCE", "MOVIE", "TILED") or not image.filepath:
            continue
        if image.packed_file is not None or len(getattr(image, "packed_files", ())):
            continue
        one = _file(image, "filepath", f"image '{image.name}'", base=image.library)
        if image.source == "SEQUENCE":
            one.files = _numbered(one.path)
        elif image.source == "TILED":
            one.files = _tiles(one.path)
        yield one


def _plain() -> Iterator[Reference]:
    """Datablocks that name one file, or a row of numbered ones."""
    kinds = (
        ("fonts", "font", True),
        ("sounds", "sound", False),
        ("movieclips", "movie clip", True),
        ("cache_files", "cache", True),
        ("volumes", "volume", True),
    )
    for collection, what, needed in kinds:
        for block in getattr(bpy.data, collection, ()):
            if not block.filepath or block.filepath == "<builtin>" or getattr(block, "packed_file", None) is not None:
                continue
            one = _file(block, "filepath", f"{what} '{block.name}'", base=block.library)
            one.needed = one.needed and needed
            if getattr(block, "is_sequence", False) or getattr(block, "source", "") == "SEQUENCE":
                one.files = _numbered(one.path)
            yield one


def _sequences() -> Iterator[Reference]:
    """Pictures and films in the video editor."""
    for scene in bpy.data.scenes:
        editor = scene.sequence_editor
        if editor is None:
            continue
        for strip in editor.strips_all if hasattr(editor, "strips_all") else editor.sequences_all:  # before Blender 4.4
            owner = f"strip '{strip.name}'"
            if strip.type == "MOVIE":
                yield _file(strip, "filepath", owner, base=scene.library)
            elif strip.type == "IMAGE" and len(strip.elements):
                one = _file(strip, "directory", owner, base=scene.library)
                there = (os.path.join(one.path, element.filename) for element in strip.elements)
                one.files = [path for path in there if _is_file(path)]
                if len(one.files) < len(strip.elements):
                    one.files = []
                yield one


def _modifiers() -> Iterator[Reference]:
    for thing in bpy.data.objects:
        if thing.library is not None:
            continue
        for modifier in thing.modifiers:
            owner = f"{modifier.type.lower()} of '{thing.name}'"
            if modifier.type == "MESH_CACHE":
                yield _file(modifier, "filepath", owner, base=None)
            elif modifier.type == "FLUID" and modifier.fluid_type == "DOMAIN":
                yield _folder(modifier.domain_settings, "cache_directory", owner)
            elif modifier.type == "OCEAN" and modifier.is_cached:
                yield _folder(modifier, "filepath", owner)
            elif modifier.type == "MULTIRES" and modifier.is_external:
                yield _file(modifier, "filepath", owner, base=None)
            elif modifier.type == "NODES" and getattr(modifier, "bake_directory", ""):
                yield _folder(modifier, "bake_directory", owner)


def _nodes() -> Iterator[Reference]:
    """Light profiles and shading scripts."""
    for tree, owner, base in _trees():
        for node in tree.nodes:
            if node.bl_idname in ("ShaderNodeTexIES", "ShaderNodeScript") and node.mode == "EXTERNAL" and node.filepath:
                yield _file(node, "filepath", f"{node.name} of {owner}", base=base)


def _point_caches() -> Iterator[Reference]:
    """Caches of cloth, particles and so on, which lie beside the file in a folder that is named after it."""
    beside = os.path.join(os.path.dirname(bpy.data.filepath), f"blendcache_{_stem(bpy.data.filepath)}")
    for owner, what, cache in _caches():
        if cache.use_external and cache.filepath:
            yield _folder(cache, "filepath", f"{what} of '{owner.name}'")
        elif cache.use_disk_cache:
            raw = "//" + os.path.basename(beside)
            yield Reference(
                owner=f"{what} of '{owner.name}'", raw=raw, path=beside, rename=_not_renamed, folder=True,
                files=_below(beside),
            )  # fmt: skip


def _caches() -> Iterator[tuple]:
    for thing in bpy.data.objects:
        for modifier in thing.modifiers if thing.library is None else ():
            if getattr(modifier, "point_cache", None) is not None:
                yield thing, modifier.type.lower().replace("_", " "), modifier.point_cache
        for system in thing.particle_systems if thing.library is None else ():
            yield thing, "particles", system.point_cache
    for scene in bpy.data.scenes:
        world = scene.rigidbody_world
        if world is not None and world.point_cache is not None and world.enabled and world.collection is not None:
            yield scene, "rigid bodies", world.point_cache


def _trees() -> Iterator[tuple]:
    for collection in ("materials", "worlds", "lights"):
        for block in getattr(bpy.data, collection):
            if block.node_tree is not None:
                yield block.node_tree, f"'{block.name}'", block.library
    for group in bpy.data.node_groups:
        yield group, f"'{group.name}'", group.library


def _all_blocks() -> Iterator:
    for name in dir(bpy.data):
        collection = getattr(bpy.data, name)
        if isinstance(collection, bpy.types.bpy_prop_collection):
            for block in collection:
                yield block
                if getattr(block, "node_tree", None) is not None:
                    yield block.node_tree
                if getattr(block, "shape_keys", None) is not None:
                    yield block.shape_keys


# -- paths -----------------------------------------------------------------------------------------------------------


def _file(block, attribute: str, owner: str, *, base) -> Reference:
    raw = getattr(block, attribute)
    path = os.path.normpath(bpy.path.abspath(raw, library=base))
    unused = getattr(block, "users", 1) - bool(getattr(block, "use_fake_user", False)) <= 0
    return Reference(
        owner=owner,
        raw=raw,
        path=path,
        rename=lambda new: setattr(block, attribute, new),
        needed=not unused,
        files=[path] if _is_file(path) else [],
    )


def _folder(block, attribute: str, owner: str) -> Reference:
    one = _file(block, attribute, owner, base=None)
    one.folder, one.files = True, _below(one.path)
    return one


def _is_file(path: str) -> bool:
    return os.path.isfile(path)


def _below(folder: str) -> list[str]:
    return sorted(os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names)


def _numbered(path: str) -> list[str]:
    """All files that are named like `path` but for the last digits in its name."""
    folder, name = os.path.split(path)
    parts = re.fullmatch(r"(.*?)(\d+)(\D*)", name)
    if parts is None:
        return [path] if _is_file(path) else []
    pattern = re.compile(re.escape(parts[1]) + r"\d+" + re.escape(parts[3]))
    names = os.listdir(folder) if os.path.isdir(folder) else ()
    return sorted(os.path.join(folder, one) for one in names if pattern.fullmatch(one))


def _tiles(path: str) -> list[str]:
    """The tiles of a texture; `path` has a mark for the tile's number, or the number of the first."""
    folder, name = os.path.split(path)
    if "<UDIM>" in name:
        pattern = glob.escape(name).replace("<UDIM>", "[0-9][0-9][0-9][0-9]")
    elif "<UVTILE>" in name:
        pattern = glob.escape(name).replace("<UVTILE>", "u*_v*")
    else:
        pattern = glob.escape(name).replace("1001", "[0-9][0-9][0-9][0-9]")
    return sorted(glob.glob(os.path.join(glob.escape(folder), pattern)))


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _not_renamed(_: str) -> None:
    """It is found by the .blend's own name."""
