"""Seeds: what becomes of a scene, a folder and a tarball before it is handed in."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from distren.cli.main import distren
from distren.client.seed import Seed, pack
from distren.client.wishes import Wishes
from distren.domain import frameset
from distren.domain.groups import Output
from distren.domain.job import Blob, InputFile, JobSpec, Limits
from distren.errors import (
    DistrenError,
    FrameRangeError,
    InputError,
    JobFileError,
    RendererUnavailable,
    SceneError,
    SettingsError,
    TarballError,
)
from distren.jobfile.manifest import read_manifest, write_manifest
from distren.jobfile.reader import read_jobfile
from distren.renderers import registry
from distren.renderers.protocol import Capability, Command, Progress, Scene, Task, Trouble
from distren.tarballs.limits import TarLimits
from distren.tarballs.writer import Member, write_tarball
from distren.wire.jobs import Manifest, ManifestFile

JOB = b"""<job xmlns="urn:distren:job:1" name="Written" renderer="toy" pool="night">
  <frames ids="1-3"/>
  <limits time="2h" memory="1G"/>
  <!-- by hand -->
  <settings xmlns="urn:distren:renderer:toy:1" scene="a.toy" quality="5"/>
  <note xmlns="urn:elsewhere">kept</note>
</job>"""


class Toy:
    """A renderer of text files: each line of a `.toy` names a file that it needs; `frames 1-5` says which frames."""

    name = "toy"

    def probe(self, program: str | None) -> Capability:
        return Capability(version="1")

    def accepts(self, path: Path) -> bool:
        return path.suffix in (".toy", ".ini")

    def read_scene(self, path: Path, settings: Mapping[str, str]) -> Scene:
        if not path.is_file():
            raise SceneError(f"there is no scene '{path}'")
        frames, needs = None, []
        for line in path.read_text().splitlines():
            if line.startswith("frames "):
                frames = frameset.parse(line[7:])
            else:
                needs.append(path.parent / line)
        outside = any(".." in need.parts for need in needs)
        root = path.resolve().parent.parent if outside else path.resolve().parent
        files = tuple(Path(os.path.normpath(need.absolute())).relative_to(root) for need in (path, *needs))
        return Scene(root=root, files=files, settings={"scene": path.name}, frames=frames, width=320, height=240)

    def check(self, settings: Mapping[str, str]) -> None:
        if unknown := settings.keys() - {"scene", "quality"}:
            raise JobFileError(f"toy has no setting {min(unknown)}")

    def command(self, task: Task, program: str | None) -> Command:
        raise NotImplementedError

    def read_line(self, line: str) -> Progress | Trouble | None:
        return None


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "installed", lambda: {"toy": Toy()})


@pytest.fixture
def place(tmp_path: Path) -> Callable[..., Path]:
    """Lays files into a folder `seed` and returns it."""

    def lay(**files: str | bytes) -> Path:
        folder = tmp_path / "seed"
        folder.mkdir(exist_ok=True)
        for name, data in files.items():
            path = folder / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return folder

    return lay


Place = Callable[..., Path]


def tarball(path: Path, files: Mapping[str, bytes]) -> Path:
    with path.open("wb") as target:
        write_tarball(target, [Member(path=name, source=data) for name, data in files.items()])
    return path


def refused(source: Path, kind: type[DistrenError], **wishes: Any) -> str:
    with pytest.raises(kind) as caught:
        pack(source, Wishes(**wishes))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def job_file(packed: Seed) -> JobSpec:
    data = packed.files["distrenjob.xml"]
    return read_jobfile(data if isinstance(data, bytes) else data.read_bytes())


# -- a scene ---------------------------------------------------------------------------------------------------------


def test_a_scene_takes_along_what_it_names_and_nothing_else(place: Place) -> None:
    folder = place(a_toy="frames 1-5\ntex/wood.png", tex__wood_png="wood", other_txt="no")
    with pack(folder / "a.toy") as packed:
        assert sorted(packed.files) == ["a.toy", "distrenjob.xml", "tex/wood.png"]
        assert packed.spec == JobSpec(
            name="a",
            renderer="toy",
            frames=frameset.parse("1-5"),
            width=320,
            height=240,
            settings={"scene": "a.toy"},
        )
        assert job_file(packed) == packed.spec
        assert packed.files["tex/wood.png"] == folder / "tex/wood.png"


def test_flags_win_over_the_scene(place: Place) -> None:
    packed = pack(
        place(a_toy="frames 1-5") / "a.toy",
        Wishes(
            frames=frameset.parse("7"),
            width=640,
            height=480,
            name=" Cube ",
            pool="night",
            priority=0,
            time_limit="20m",
            silence_limit=90,
            memory_limit="4G",
            output_limit=10**6,
            attempts=1,
            outputs=[Output(path="depth{frame:04}.exr", image=True)],
            settings={"quality": "9"},
        ),
    )
    spec = packed.spec
    assert (str(spec.frames), spec.width, spec.height, spec.name, spec.pool) == ("7", 640, 480, "Cube", "night")
    assert (spec.priority, spec.settings) == (0, {"scene": "a.toy", "quality": "9"})
    assert spec.limits == Limits(
        time=timedelta(minutes=20), silence=timedelta(seconds=90), memory=2**32, output=10**6, attempts=1
    )
    assert [output.of(7).path for output in spec.outputs] == ["depth0007.exr"]
    assert job_file(packed) == spec


def test_limits_and_expected_files_come_from_the_command_line(place: Place, tmp_path: Path) -> None:
    scene, target = str(place(a_toy="frames 1-5") / "a.toy"), tmp_path / "job.tar"
    limits = [
        "--time-limit",
        "20m",
        "--silence-limit",
        "90",
        "--memory-limit",
        "4G",
        "--output-limit",
        "500M",
        "--attempts",
        "5",
    ]
    expected = ["--expect", "points.txt", "--expect-image", "depth{frame:04}.png"]
    result = CliRunner().invoke(distren, ["pack", scene, "-o", str(target), *limits, *expected], standalone_mode=False)
    assert result.exception is None
    with pack(target) as packed:
        assert packed.spec.limits == Limits(
            time=timedelta(minutes=20), silence=timedelta(seconds=90), memory=2**32, output=500 * 2**20, attempts=5
        )
        assert packed.spec.outputs == (Output(path="points.txt"), Output(path="depth{frame:04}.png", image=True))


def test_a_scene_that_does_not_say_its_frames_needs_the_flag(place: Place) -> None:
    scene = place(a_toy="") / "a.toy"
    assert "--frames" in refused(scene, FrameRangeError)
    assert str(pack(scene, Wishes(frames=frameset.parse("1"))).spec.frames) == "1"


def test_a_missing_scene_and_a_missing_include_say_so(place: Place, tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "no.toy", SceneError)
    packed = pack(place(a_toy="frames 1\nmissing.inc") / "a.toy")
    with pytest.raises(SceneError, match=r"missing\.inc' can not be read: No such file"):
        packed.manifest()


def test_a_file_that_no_renderer_knows_is_refused(place: Place) -> None:
    assert "letter.txt" in refused(place(letter_txt="hello") / "letter.txt", InputError)
    assert "nobody" in refused(place(a_toy="") / "a.toy", RendererUnavailable, renderer="nobody")


@pytest.mark.parametrize(
    ("wishes", "why"),
    [
        ({"name": "a\x1bb"}, "name"),
        ({"pool": "a b"}, "pool"),
        ({"priority": 101}, "0 to 100"),
        ({"width": 0}, "1 to 65536"),
        ({"renderer": "Pov Ray"}, "lower-case"),
        ({"time_limit": "soon"}, "time limit 'soon' can not be used: write a time"),
        ({"silence_limit": 0}, "silence limit"),
        ({"memory_limit": "4GB"}, "500M or 4G"),
        ({"output_limit": -1}, "output limit"),
        ({"attempts": 101}, "1 to 100"),
        ({"outputs": [Output(path="../up.exr")]}, "'..'"),
        ({"outputs": [Output(path=f"{number}.exr") for number in range(101)]}, "101 outputs"),
    ],
)
def test_a_flag_that_can_not_be_used_is_named(place: Place, wishes: dict[str, Any], why: str) -> None:
    assert why in refused(place(a_toy="frames 1") / "a.toy", SettingsError, **wishes)


def test_too_many_frames_are_refused(place: Place) -> None:
    scene = place(a_toy="") / "a.toy"
    assert "more than" in refused(scene, FrameRangeError, frames=frameset.parse("0-9007199254740991"))


def test_the_renderer_checks_its_settings(place: Place) -> None:
    assert "no setting colour" in refused(place(a_toy="frames 1") / "a.toy", JobFileError, settings={"colour": "red"})


# -- a folder --------------------------------------------------------------------------------------------------------


def test_a_folder_with_a_job_file_is_taken_as_it_is(place: Place) -> None:
    folder = place(distrenjob_xml=JOB, a_toy="", sub__b_inc="b", _hidden="no", _git__config="no")
    for source in (folder, folder / "distrenjob.xml"):
        packed = pack(source)
        assert sorted(packed.files) == ["a.toy", "distrenjob.xml", "sub/b.inc"]
        assert packed.files["distrenjob.xml"] == folder / "distrenjob.xml"
        assert packed.spec == read_jobfile(JOB)


def test_flags_rewrite_the_job_file_of_a_folder_but_not_on_the_disk(place: Place) -> None:
    folder = place(distrenjob_xml=JOB, a_toy="")
    packed = pack(folder, Wishes(frames=frameset.parse("9"), attempts=7, settings={"quality": "1"}))
    written = read_jobfile(JOB)
    assert written.limits.time != Limits().time
    expected = replace(
        written,
        frames=frameset.parse("9"),
        settings={"scene": "a.toy", "quality": "1"},
        limits=replace(written.limits, attempts=7),
    )
    assert packed.spec == expected
    assert packed.spec.extra == ('<note xmlns="urn:elsewhere">kept</note>',)
    assert job_file(packed) == expected
    assert (folder / "distrenjob.xml").read_bytes() == JOB


def test_a_folder_without_a_job_file_is_about_its_only_scene(place: Place) -> None:
    packed = pack(place(a_toy="frames 1-2", notes_txt="all files come along"))
    assert sorted(packed.files) == ["a.toy", "distrenjob.xml", "notes.txt"]
    assert (packed.spec.name, packed.spec.settings) == ("seed", {"scene": "a.toy"})


def test_the_only_ini_of_a_folder_is_its_scene(place: Place) -> None:
    packed = pack(place(a_toy="", b_toy="", film_ini="frames 1-2"))
    assert packed.spec.settings == {"scene": "film.ini"}


def test_of_several_scenes_one_must_be_named(place: Place) -> None:
    folder = place(a_toy="", b_toy="frames 4")
    text = refused(folder, SceneError)
    assert "a.toy, b.toy" in text
    assert "--scene" in text
    assert pack(folder, Wishes(scene="b.toy")).spec.settings == {"scene": "b.toy"}
    assert "no scene 'c.toy'" in refused(folder, SceneError, scene="c.toy")
    assert "no scene '../seed/a.toy'" in refused(folder, SceneError, scene="../seed/a.toy")


def test_a_folder_without_a_scene_is_refused(place: Place) -> None:
    assert "neither distrenjob.xml nor a scene" in refused(place(notes_txt=""), SceneError)


def test_a_scene_that_needs_files_outside_of_its_folder_is_refused_as_a_folder(place: Place, tmp_path: Path) -> None:
    (tmp_path / "lib.inc").write_text("lib")
    folder = place(a_toy="frames 1\n../lib.inc")
    assert "outside" in refused(folder, SceneError)
    assert sorted(pack(folder / "a.toy").files) == ["distrenjob.xml", "lib.inc", "seed/a.toy"]


def test_links_out_of_a_folder_are_refused_and_links_inside_are_files(place: Place, tmp_path: Path) -> None:
    folder = place(distrenjob_xml=JOB, a_toy="scene")
    (folder / "inside").symlink_to("a.toy")
    with pack(folder) as packed:
        digests = {file.path: file.blob.digest for file in packed.inputs}
    assert digests["inside"] == digests["a.toy"]
    (tmp_path / "secret").write_text("secret")
    for target, why in ((tmp_path / "secret", "out of the folder"), (tmp_path / "no", "nothing"), (".", "to a folder")):
        (folder / "link").symlink_to(target)
        assert why in refused(folder, SceneError)
        (folder / "link").unlink()
    os.mkfifo(folder / "pipe")
    assert "neither a file nor a folder" in refused(folder, SceneError)


def test_names_that_no_seed_may_hold_are_refused(place: Place) -> None:
    folder = place(distrenjob_xml=JOB, a_toy="", A_toy="")
    assert "only by case" in refused(folder, SceneError)
    (folder / "A.toy").rename(folder / "a\\b")
    assert "backslash" in refused(folder, SceneError)


def test_a_second_job_file_is_refused(place: Place) -> None:
    assert "a second distrenjob.xml" in refused(place(distrenjob_xml=JOB, sub__distrenjob_xml=JOB), SceneError)


def test_a_bad_job_file_is_refused_with_its_line(place: Place) -> None:
    text = refused(place(distrenjob_xml=JOB.replace(b"1-3", b"3-1")), JobFileError)
    assert text.startswith("distrenjob.xml, line 2, column 3: ")
    assert "--scene" in refused(place(distrenjob_xml=JOB), SceneError, scene="a.toy")


# -- a tarball -------------------------------------------------------------------------------------------------------


def test_a_tarball_is_unpacked_for_as_long_as_the_seed_lives(tmp_path: Path) -> None:
    path = tarball(tmp_path / "job.tar", {"distrenjob.xml": JOB, "a.toy": b"", ".hidden": b"1", "sub/x": b"2"})
    with pack(path, Wishes(pool="day")) as packed:
        assert sorted(packed.files) == [".hidden", "a.toy", "distrenjob.xml", "sub/x"]
        assert packed.spec.pool == "day"
        real = packed.files["sub/x"]
        assert isinstance(real, Path)
        assert real.read_bytes() == b"2"
    assert not real.exists()


def test_a_tarball_is_known_by_its_content_too(tmp_path: Path) -> None:
    path = tarball(tmp_path / "job", {"distrenjob.xml": JOB, "a.toy": b""})
    with pack(path) as packed:
        assert packed.spec.name == "Written"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty (0 bytes)"),
        (b"nonsense" * 100, "no tarball"),
        ({"a.toy": b""}, "no distrenjob.xml at its root"),
        ({"job/distrenjob.xml": JOB}, "lies in 'job'"),
        ({"distrenjob.xml": JOB, "x": b"1" * 600}, "cut off"),
    ],
)
def test_a_bad_tarball_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes | dict[str, bytes], why: str
) -> None:
    path = tmp_path / "job.tar"
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        tarball(path, data)
        if why == "cut off":
            path.write_bytes(path.read_bytes()[:-1024])
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    text = refused(path, TarballError)
    assert why in text
    assert "job.tar" in text
    assert list(scratch.iterdir()) == []


# -- the manifest ----------------------------------------------------------------------------------------------------


def test_blobs_and_manifest_fit_together(place: Place) -> None:
    packed = pack(place(a_toy="frames 1", same_txt="twice", again_txt="twice"))
    data, blob = packed.manifest()
    assert blob == Blob(digest=hashlib.sha256(data).hexdigest(), size=len(data))
    assert read_manifest(data) == packed.inputs
    assert [file.path for file in packed.inputs] == ["a.toy", "again.txt", "distrenjob.xml", "same.txt"]
    blobs = packed.blobs()
    assert len(blobs) == 4  # three different files, and the manifest
    for digest, source in blobs.items():
        content = source if isinstance(source, bytes) else source.read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
    assert packed.manifest() == (data, blob)


def listed(*paths: str, size: int = 5, digest: str = "0" * 64) -> bytes:
    files = [ManifestFile.model_construct(path=path, digest=digest, size=size) for path in paths]
    return Manifest.model_construct(files=files).encode()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "can not be read"),
        (b"\xc1garbage", "can not be read"),
        (listed("a.pov"), "no distrenjob.xml"),
        (listed(), "no distrenjob.xml"),
        (listed("distrenjob.xml", "distrenjob.xml"), "twice"),
        (listed("distrenjob.xml", "DistrenJob.xml"), "only by case"),
        (listed("distrenjob.xml", "a/distrenjob.xml"), "one distrenjob.xml"),
        (listed("distrenjob.xml", "../a"), "'..'"),
        (listed("distrenjob.xml", "/a"), "absolute"),
        (listed("distrenjob.xml", "a", "a/b"), "both a file and a folder"),
        (listed("distrenjob.xml", "a\nb"), "control"),
        (listed("distrenjob.xml", "x" * 5000), "longer"),
        (listed("distrenjob.xml", size=2**30), "above the limit"),
        (listed("distrenjob.xml", digest="../../etc/passwd"[:16]), "can not be read"),
    ],
)
def test_a_manifest_that_can_not_be_trusted_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(JobFileError) as caught:
        read_manifest(data)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_digest_has_one_size() -> None:
    files = [
        InputFile(path="distrenjob.xml", blob=Blob(digest="0" * 64, size=1)),
        InputFile(path="x", blob=Blob(digest="0" * 64, size=2)),
    ]
    with pytest.raises(JobFileError, match="another size"):
        read_manifest(write_manifest(files))


def test_limits_of_a_seed_are_kept() -> None:
    data = listed("distrenjob.xml", "a", "b", size=10)
    assert len(read_manifest(data)) == 3
    for limits, why in (
        (TarLimits(members=2), "3 files"),
        (TarLimits(total_bytes=29), "30 bytes"),
        (TarLimits(member_bytes=9), "10 bytes"),
    ):
        with pytest.raises(JobFileError, match=why):
            read_manifest(data, limits)


def test_a_manifest_too_large_for_a_message_says_so() -> None:
    blob = Blob(digest="0" * 64, size=1)
    files = [InputFile(path=f"{number:0200}", blob=blob) for number in range(40_000)]
    with pytest.raises(JobFileError, match="40000 files"):
        write_manifest(files)
