"""`distren validate`: every error of a job file or a seed, each with its place and what to write instead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from distren.cli import errors
from distren.cli.main import distren
from distren.client.validate import validate
from distren.tarballs.writer import Member, write_tarball

GOOD = b"""<?xml version="1.0" encoding="UTF-8"?>
<job xmlns="urn:distren:job:1" name="Good" renderer="povray">
  <frames ids="1-24"/>
  <settings xmlns="urn:distren:renderer:povray:1" scene="a.pov"/>
</job>
"""
SCENE = b'#version 3.7;\n#include "parts.inc"\nsphere { 0, 1 }\n'


def seed(folder: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def found(source: Path) -> list[str]:
    return [str(one) for one in validate(source).findings]


def test_a_good_seed_has_no_findings(tmp_path: Path) -> None:
    folder = seed(tmp_path / "seed", {"distrenjob.xml": GOOD, "a.pov": SCENE, "parts.inc": b""})
    looked = validate(folder)
    assert (looked.findings, looked.files) == ((), 3)
    assert looked.spec is not None
    assert found(folder / "distrenjob.xml") == []


def test_every_error_of_a_job_file_is_told_with_line_and_column(tmp_path: Path) -> None:
    bad = GOOD.replace(b'name="Good"', b'nam="Good" priority="900"').replace(b'"1-24"', b'"1-"')
    path = seed(tmp_path, {"distrenjob.xml": bad})
    lines = [line for line in found(path) if ", line " in line]
    places = [line.partition(": ")[0] for line in lines]
    assert places == [*["distrenjob.xml, line 2, column 1"] * 3, "distrenjob.xml, line 3, column 3"]


def test_the_renderer_checks_its_settings_and_all_that_is_wrong_is_told(tmp_path: Path) -> None:
    bad = GOOD.replace(b'scene="a.pov"', b'scene="a.pov" quality="99" colour="red"')
    path = seed(tmp_path, {"distrenjob.xml": bad}) / "distrenjob.xml"
    lines = found(path)
    assert len(lines) == 2
    assert all(line.startswith(f"{path}, line 4, column 3: ") for line in lines)
    assert any("quality" in line for line in lines)
    assert any("colour" in line for line in lines)


def test_missing_files_are_told(tmp_path: Path) -> None:
    folder = seed(tmp_path / "seed", {"distrenjob.xml": GOOD, "a.pov": SCENE})
    (line,) = found(folder)
    assert "parts.inc" in line
    (folder / "a.pov").unlink()
    (line,) = found(folder)
    assert "'a.pov', which is not in the seed" in line
    (folder / "distrenjob.xml").unlink()
    (line,) = found(folder)
    assert "no distrenjob.xml at its root" in line


def test_a_tarball_is_looked_at_too(tmp_path: Path) -> None:
    target = tmp_path / "job.tar"
    with target.open("wb") as file:
        write_tarball(file, [Member(path="distrenjob.xml", source=GOOD), Member(path="b/distrenjob.xml", source=GOOD)])
    lines = found(target)
    assert len(lines) == 2
    assert any("delete or rename this one" in line for line in lines)
    target.write_bytes(target.read_bytes()[:700])
    assert "cut off" in found(target)[0]


@pytest.mark.parametrize(("data", "code"), [(GOOD, 0), (b"<job/>", 3), (b"\xff\xfe<job/>", 3), (b"", 3)])
def test_the_exit_code_and_the_json_tell_whether_it_is_good(tmp_path: Path, data: bytes, code: int) -> None:
    path = seed(tmp_path, {"distrenjob.xml": data}) / "distrenjob.xml"
    result = CliRunner().invoke(distren, ["validate", str(path), "--json"], standalone_mode=False)
    assert (0 if result.exception is None else errors.exit_code(result.exception)) == code
    record = json.loads(result.stdout.splitlines()[0])
    assert record["valid"] is (code == 0)
    assert all(one["line"] == 1 and one["text"] for one in record["problems"])


def test_a_source_that_does_not_exist_is_an_input_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(distren, ["validate", str(tmp_path / "no.xml")], standalone_mode=False)
    assert result.exception is not None
    assert errors.exit_code(result.exception) == 3
