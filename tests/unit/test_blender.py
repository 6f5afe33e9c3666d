"""The Blender adapter, without Blender: headers, where files go, how Blender is called, what its words mean."""

from __future__ import annotations

import gzip
import importlib
import json
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import zstandard

from distren.errors import JobFileError, SceneError
from distren.renderers import registry
from distren.renderers.blender import Blender, gather, header, opengl, packing, program
from distren.renderers.blender.packing import BlendFile, Reference
from distren.renderers.blender.settings import PASSES
from distren.renderers.protocol import AttemptFailed, Command, Progress, Task, Trouble

BLENDER = Blender()
HOME = Path("/home/anna")
DRIVERS = Path(__file__).parents[2] / "workers" / "blender"


# -- headers ---------------------------------------------------------------------------------------------------------


def blend(first: int, last: int, *, version: str = "304", order: str = "<") -> bytes:
    """The beginning of a .blend: a block that is skipped, then the frame range."""
    start = b"BLENDER-" + (b"v" if order == "<" else b"V") + version.encode()
    skipped = struct.pack(f"{order}4siQii", b"TEST", 24, 7, 0, 1) + bytes(24)
    return (
        start
        + skipped
        + struct.pack(f"{order}4siQii", b"REND", 72, 7, 0, 1)
        + struct.pack(f"{order}ii64s", first, last, b"Scene")
    )


def blend5(first: int, last: int) -> bytes:
    """The same as Blender 5 writes it."""
    range_ = struct.pack("<ii64s", first, last, b"Scene")
    return b"BLENDER17-01v0500" + struct.pack("<4siQqq", b"REND", 0, 7, 72, 1) + range_


@pytest.mark.parametrize(
    ("data", "version", "compressed"),
    [
        (blend(3, 40), (3, 4), False),
        (blend(3, 40, order=">", version="279"), (2, 79), False),
        (gzip.compress(blend(3, 40, version="293")), (2, 93), True),
        (zstandard.compress(blend(3, 40)[:50]) + zstandard.compress(blend(3, 40)[50:]), (3, 4), True),
        (blend5(3, 40), (5, 0), False),
    ],
    ids=("plain", "big-endian", "gzip", "zstandard", "5"),
)
def test_the_frame_range_is_read_from_a_header(
    tmp_path: Path, data: bytes, version: tuple[int, int], compressed: bool
) -> None:
    (tmp_path / "a.blend").write_bytes(data)
    found = header.read(tmp_path / "a.blend")
    assert (found.version, found.compressed, found.first, found.last) == (version, compressed, 3, 40)


@pytest.mark.parametrize(
    "data",
    [b"", b"#!/bin/sh", blend(1, 2)[:40], gzip.compress(blend(1, 2))[:30], b"BLENDER-v304"],
    ids=("empty", "another", "cut", "cut and compressed", "header only"),
)
def test_what_is_no_whole_blend_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.blend").write_bytes(data)
    with pytest.raises(SceneError, match=r"a\.blend.* (no \.blend|damaged)"):
        header.read(tmp_path / "a.blend")


def test_without_blender_the_range_is_known_and_the_user_is_told_what_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DISTREN_CONFIG", str(tmp_path / "none.toml"))
    (tmp_path / "a.blend").write_bytes(blend(3, 40))
    found = BLENDER.read_scene(tmp_path / "a.blend", {})
    assert (str(found.frames), found.files, found.settings) == ("3-40", (Path("a.blend"),), {"blend": "a.blend"})
    assert "Blender is not installed here, so only a.blend itself is sent: its frames are 3-40" in found.notes[0]
    with pytest.raises(SceneError, match="there is no scene"):
        BLENDER.read_scene(tmp_path / "b.blend", {})


def test_a_range_that_begins_below_zero_is_not_taken() -> None:
    assert gather._frames(-5, 10, 1) is None


# -- where files go --------------------------------------------------------------------------------------------------


def reference(raw: str, path: str, *, folder: bool = False, files: tuple[str, ...] | None = None) -> Reference:
    found = (path,) if files is None else files
    return Reference(
        owner="image 'a'", raw=raw, path=Path(path), folder=folder, needed=True, files=tuple(map(Path, found))
    )


def plan(*references: Reference, at: str = "/home/anna/film/shot.blend", others: tuple[BlendFile, ...] = ()) -> Any:
    return packing.plan((BlendFile(path=Path(at), references=references), *others), HOME)


def places(found: packing.Packing) -> dict[str, str]:
    return {str(file): str(place) for file, place in found.files.items()}


def test_relative_files_keep_their_places_and_nothing_is_rewritten() -> None:
    found = plan(
        reference("//tex/a.png", "/home/anna/film/one/tex/a.png"),
        reference("//../../shared/b.png", "/home/anna/shared/b.png"),
        at="/home/anna/film/one/shot.blend",
    )
    assert found.root == Path("/home/anna/film/one")  # /home/anna would be everything that Anna has
    found = plan(reference("//../shared/b.png", "/home/anna/film/shared/b.png"), at="/home/anna/film/one/shot.blend")
    assert (found.root, found.rewrites) == (Path("/home/anna/film"), ())
    assert places(found) == {
        "/home/anna/film/one/shot.blend": "one/shot.blend",
        "/home/anna/film/shared/b.png": "shared/b.png",
    }


def test_absolute_paths_are_rewritten_and_far_files_brought_in_with_their_neighbours() -> None:
    near, far = "/home/anna/film/tex/a.png", "/usr/share/wood"
    found = plan(
        reference(near, near),
        reference(f"{far}/1.png", f"{far}/1.png", files=(f"{far}/1.png", f"{far}/2.png")),
        reference("//../../../opt/x.hdr", "/opt/x.hdr"),
    )
    assert places(found) == {
        "/home/anna/film/shot.blend": "shot.blend",
        near: "tex/a.png",
        f"{far}/1.png": "external/1/1.png",
        f"{far}/2.png": "external/1/2.png",
        "/opt/x.hdr": "external/2/x.hdr",
    }
    assert list(found.rewrites[0].paths.values()) == ["//tex/a.png", "//external/1/1.png", "//external/2/x.hdr"]


def test_a_library_elsewhere_moves_with_all_that_it_needs() -> None:
    library = BlendFile(path=Path("/srv/lib/tree.blend"), references=(reference("//leaf.png", "/srv/lib/leaf.png"),))
    found = plan(reference("/srv/lib/tree.blend", "/srv/lib/tree.blend"), others=(library,))
    assert places(found)["/srv/lib/leaf.png"] == "external/1/leaf.png"
    assert [one.blend.name for one in found.rewrites] == ["shot.blend"]  # the library's own path still holds


def test_a_cache_folder_comes_with_everything_below_it() -> None:
    cache = reference(
        "/scratch/smoke/", "/scratch/smoke", folder=True, files=("/scratch/smoke/data/1.vdb", "/scratch/smoke/config/1")
    )
    found = plan(cache)
    assert places(found)["/scratch/smoke/data/1.vdb"] == "external/1/data/1.vdb"
    assert list(found.rewrites[0].paths.values()) == ["//external/1"]


def test_missing_files_are_listed_with_the_library_that_names_them() -> None:
    library = BlendFile(
        path=Path("/home/anna/film/tree.blend"), references=(reference("//leaf.png", "/home/anna/x", files=()),)
    )
    found = plan(reference("//gone.png", "/home/anna/film/gone.png", files=()), others=(library,))
    assert found.missing == ("image 'a': //gone.png", "image 'a': //leaf.png (in tree.blend)")
    assert found.files[Path("/home/anna/film/shot.blend")] == PurePosixPath("shot.blend")


# -- how Blender is called -------------------------------------------------------------------------------------------


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    (tmp_path / "my shot.blend").write_bytes(blend(1, 9))
    return tmp_path


def command(inputs: Path, *, frame: int = 3, scripts: bool = False, slot: int = 0, **settings: str) -> Command:
    task = Task(
        frame=frame,
        first=1,
        last=9,
        width=64,
        height=None,
        settings={"blend": "my shot.blend", **settings},
        inputs=inputs,
        output=inputs / "output",
        slot=slot,
        scripts=scripts,
    )
    return BLENDER.command(task, None)


def given(made: Command) -> Mapping[str, Any]:
    plan: Mapping[str, Any] = json.loads(made.argv[-1])
    return plan


def test_the_adapter_is_found_by_its_name_and_by_its_scenes() -> None:
    assert isinstance(registry.named("blender"), Blender)
    assert BLENDER.accepts(Path("A.BLEND"))
    assert not BLENDER.accepts(Path("a.blend1"))


def test_the_module_bpy_is_a_blender_where_there_is_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program._module.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert program.find(None) is None
    assert program.called(None) == ("blender",)
    (tmp_path / "bpy.py").touch()
    importlib.invalidate_caches()
    program._module.cache_clear()
    call = (sys.executable, "-I", str(DRIVERS / "blender_of_bpy.py"))
    assert program.find(None) == program.called(None) == call
    assert program.find("/opt/blender") is None
    assert program.called("/opt/blender") == ("/opt/blender",)
    program._module.cache_clear()


def test_what_needs_opengl_goes_to_workers_that_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.capability("blender", {"engine": "eevee"}) == "blender:opengl"
    assert registry.capability("blender", {"engine": "workbench"}) == "blender:opengl"
    assert registry.capability("blender", {"engine": "cycles"}) == registry.capability("blender", {}) == "blender"
    assert not opengl.is_here("libNoSuchEGL.so.1")


def test_blender_loads_the_file_before_our_driver_with_scripts_off(inputs: Path) -> None:
    made = command(inputs, samples="16")
    argv = list(made.argv)
    assert argv[:3] == ["blender", "--factory-startup", "-b"]
    assert argv.index("--disable-autoexec") < argv.index(str(inputs / "my shot.blend")) < argv.index("-P")
    assert argv.index("--python-exit-code") < argv.index("-P")
    assert given(made) == {
        "name": "my_shot", "size": [64, None], "slot": 0, "scripts": False,
        "settings": {"blend": "my shot.blend", "samples": "16"},
    }  # fmt: skip
    assert made.request == {"frame": 3}
    assert "--enable-autoexec" in command(inputs, scripts=True).argv


def test_frames_and_tiles_of_a_job_share_a_program_and_slots_do_not(inputs: Path) -> None:
    tile = {"tile-left": "1", "tile-top": "2", "tile-width": "3", "tile-height": "4"}
    assert command(inputs, **tile).request == {"frame": 3, "tile": [1, 2, 3, 4]}
    assert command(inputs, **tile).argv == command(inputs, frame=7).argv
    assert command(inputs, slot=1).argv != command(inputs).argv
    assert command(inputs, camera="B").argv != command(inputs).argv


@pytest.mark.parametrize("name", ["../evil.blend", "gone.blend", "link.blend"])
def test_only_a_scene_of_the_job_is_opened(inputs: Path, name: str) -> None:
    (inputs / "link.blend").symlink_to("/etc/passwd")
    with pytest.raises((AttemptFailed, JobFileError)):
        command(inputs, blend=name)


@pytest.mark.parametrize(
    "settings",
    [{"samples": "0"}, {"format": "mp4"}, {"engine": "luxcore"}, {"passes": "z,,mist"}, {"camera": "a\nb"},
     {"device": "cuda:1"}, {"tile-left": "1"}, {"nonsense": "1"}],
)  # fmt: skip
def test_settings_that_can_not_be_used_are_refused(inputs: Path, settings: dict[str, str]) -> None:
    with pytest.raises(JobFileError):
        command(inputs, **settings)


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("Fra:3 Mem:9.9M (Peak 10.8M) | Time:00:00.22 | Scene, ViewLayer | Sample 4/16", Progress(25.0)),
        ("Fra:3 Mem:9.9M (Peak 10.8M) | Time:00:00.22 | Scene, ViewLayer | Sample 16/16", Progress(99.0)),
        ("Fra:3 Mem:9.9M (Peak 10.8M) | Time:00:00.22 | Scene, ViewLayer | Finished", Progress(99.0)),
        ("Fra:3 Mem:9.9M (Peak 10.8M) | Time:00:00.22 | Scene, ViewLayer | Synchronizing object", Progress(0.0)),
        ("Saved: '/tmp/a/0003.png'", None),
        ("Error: Cannot read file 'a.blend': no", Trouble("Cannot read file 'a.blend': no", permanent=True)),
        ("Error: Out of memory", Trouble("Out of memory")),
    ],
)  # fmt: skip
def test_lines_are_understood(line: str, meaning: object) -> None:
    assert BLENDER.read_line(line) == meaning


# -- what runs inside Blender ----------------------------------------------------------------------------------------


@dataclass
class Card:
    id: str
    type: str
    name: str = "card"
    use: bool = False


class Preferences:
    """What Cycles says about a machine's graphics cards; a kind that is not `built` raises."""

    def __init__(self, *cards: Card, built: tuple[str, ...] = ("OPTIX", "CUDA", "HIP")) -> None:
        self.devices, self._built = [*cards, Card("cpu", "CPU")], built
        self.compute_device_type = "NONE"

    def get_devices_for_type(self, kind: str) -> list[Card]:
        if kind not in self._built:
            raise ValueError(kind)
        return [one for one in self.devices if one.type in (kind, "CPU")]


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports what runs inside Blender, with an empty Blender around it."""
    bpy: Any = ModuleType("bpy")
    bpy.context = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "bpy", bpy)
    monkeypatch.syspath_prepend(str(DRIVERS))
    for name in ("devices", "external", "looks", "passes", "tiles"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module


@pytest.mark.parametrize("strips", ["strips_all", "sequences_all"])
def test_strips_are_found_under_the_name_that_this_blender_has_for_them(inside: Any, strips: str) -> None:
    external = inside("external")
    empty, used = (SimpleNamespace(**{strips: some}) for some in ([], [SimpleNamespace(name="title", type="TEXT")]))
    external.bpy.data = SimpleNamespace(
        scenes=[SimpleNamespace(sequence_editor=editor, library=None) for editor in (None, empty, used)]
    )
    assert list(external._sequences()) == []


def scene(device: str = "CPU", engine: str = "CYCLES") -> Any:
    return SimpleNamespace(render=SimpleNamespace(engine=engine), cycles=SimpleNamespace(device=device))


def use(inside: Any, preferences: Preferences, wanted: str, slot: int, device: str = "CPU") -> tuple[str, list[str]]:
    """What `wanted` comes to: the scene's device, and the cards in use."""
    devices, made = inside("devices"), scene(device)
    addons = {"cycles": SimpleNamespace(preferences=preferences)}
    devices.bpy.context.preferences = SimpleNamespace(addons=addons)
    devices.choose(made, wanted, slot)
    return made.cycles.device, [one.id for one in preferences.devices if one.use]


def test_each_slot_gets_a_card_of_its_own_in_turns(inside: Any) -> None:
    cards = [Card("CUDA_b", "CUDA"), Card("CUDA_a", "CUDA")]
    picked = [use(inside, Preferences(*cards), "gpu", slot)[1] for slot in range(3)]
    assert picked == [["CUDA_a"], ["CUDA_b"], ["CUDA_a"]]


def test_the_best_interface_is_taken_and_a_build_without_it_is_no_error(inside: Any) -> None:
    both = Preferences(Card("c", "CUDA"), Card("o", "OPTIX"))
    assert use(inside, both, "auto", 0) == ("GPU", ["o"])
    assert both.compute_device_type == "OPTIX"
    assert use(inside, both, "cuda", 0) == ("GPU", ["c"])
    assert use(inside, Preferences(Card("c", "CUDA"), built=("CUDA",)), "auto", 0) == ("GPU", ["c"])


def test_without_a_card_the_processor_renders_unless_a_card_is_asked_for(inside: Any) -> None:
    assert use(inside, Preferences(), "auto", 0) == ("CPU", [])
    assert use(inside, Preferences(), "file", 0, device="GPU") == ("CPU", [])
    assert use(inside, Preferences(Card("c", "CUDA")), "file", 0) == ("CPU", [])
    assert use(inside, Preferences(Card("c", "CUDA")), "cpu", 0, device="GPU") == ("CPU", [])
    with pytest.raises(inside("looks").Unusable, match="no graphics card for device=gpu") as caught:
        use(inside, Preferences(), "gpu", 0)
    assert not caught.value.permanent  # another worker may have one


def test_the_settings_name_what_the_driver_knows(inside: Any) -> None:
    declared = {setting.name: setting.words for setting in BLENDER.declaration.settings}
    assert tuple(inside("passes").NAMES) == PASSES
    assert tuple(inside("looks").FORMATS) == declared["format"]
    assert tuple(inside("looks").ENGINES) == declared["engine"]
    kinds = tuple(kind.lower() for kind in inside("devices").KINDS)
    assert declared["device"] == ("file", "auto", "cpu", "gpu", *kinds)


def test_a_tile_is_cut_by_a_border_from_below(inside: Any) -> None:
    render = SimpleNamespace(
        resolution_x=100, resolution_y=50, use_border=False, use_crop_to_border=False, border_min_x=0.0,
        border_max_x=1.0, border_min_y=0.0, border_max_y=1.0,
    )  # fmt: skip
    before = vars(render).copy()
    with inside("tiles").cropped(SimpleNamespace(render=render), [10, 5, 20, 15]) as size:
        cut = [render.border_min_x * 100, render.border_max_x * 100, render.border_min_y * 50, render.border_max_y * 50]
    assert size == (20, 15)
    assert [int(edge) for edge in cut] == [10, 30, 30, 45]
    assert vars(render) == before
