"""What a job asks of its renderers: settings that they check, and elements that their schema checks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from distren.client.validate import validate
from distren.domain.groups import Work
from distren.errors import JobFileError
from distren.jobfile.reader import read_jobfile
from distren.jobfile.writer import write_jobfile
from distren.renderers import registry, work
from distren.renderers.protocol import Command, ExpectedFile
from distren.wire.fields import Blob
from distren.wire.frames import OutputFile, Render
from distren.worker import outputs

SCHEMA = """
<element name="settings" ns="urn:distren:renderer:layered:1" xmlns="http://relaxng.org/ns/structure/1.0">
  <optional><attribute name="scene"/></optional>
  <zeroOrMore><element name="layer"><attribute name="name"/><text/></element></zeroOrMore>
</element>
"""
JOB = """<job xmlns="urn:distren:job:1" name="a" renderer="layered">
  <frames ids="1-3"/>
  <settings xmlns="urn:distren:renderer:layered:1" scene="a"><layer name="depth"/></settings>
  <frames ids="4" label="last">
    <settings xmlns="urn:distren:renderer:layered:1"><layer {attribute}="beauty">x</layer></settings>
  </frames>
</job>
"""


class Layered:
    name = "layered"

    def __init__(self, schema: Path | None) -> None:
        if schema is not None:
            self.schema = schema

    def check(self, settings: Mapping[str, str]) -> None:
        if settings.get("scene") != "a":
            raise JobFileError("no scene")

    def accepts(self, path: Path) -> bool:
        return False


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    schema = tmp_path / "layered.rng"
    schema.write_text(SCHEMA, "utf-8")
    adapter = Layered(schema)
    monkeypatch.setattr(registry, "installed", lambda: {"layered": adapter})
    return tmp_path


def test_elements_with_structure_are_checked_by_the_renderers_schema(install: Path) -> None:
    spec = read_jobfile(JOB.format(attribute="name").encode())
    work.check_works(spec)
    assert read_jobfile(write_jobfile(spec)) == spec
    with pytest.raises(JobFileError, match=r"layered for frames 4: the settings can not be used: .*layer"):
        work.check_works(read_jobfile(JOB.format(attribute="nmae").encode()))


def test_what_the_schema_refuses_is_found_with_its_place(install: Path) -> None:
    path = install / "distrenjob.xml"
    path.write_text(JOB.format(attribute="nmae"), "utf-8")
    [finding] = validate(path).findings
    assert (finding.line, finding.column) == (5, 5)
    assert "layer" in finding.text
    path.write_text(JOB.format(attribute="name"), "utf-8")
    assert validate(path).findings == ()


def test_a_renderer_without_a_schema_takes_texts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "installed", lambda: {"layered": Layered(None)})
    with pytest.raises(JobFileError, match="<layer> is no setting of layered"):
        work.check_works(read_jobfile(JOB.format(attribute="name").encode()))


def test_content_of_an_unknown_renderer_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "installed", dict)
    spec = read_jobfile(JOB.format(attribute="nmae").encode())
    work.check_works(spec)
    assert 'nmae="beauty"' in write_jobfile(spec).decode()


def test_a_frame_must_produce_what_its_job_expects_beside_what_its_renderer_does() -> None:
    render = Render(
        job=1,
        frame=2,
        issue=1,
        renderer="layered",
        manifest=Blob(digest="ab" * 32, size=1),
        first=1,
        last=2,
        time_limit=9.0,
        outputs=[OutputFile(path="a.png", image=True, width=9), OutputFile(path="depth2.exr")],
    )
    command = Command(argv=("x",), outputs=(ExpectedFile(name="a.png"), ExpectedFile(name="b.png")))
    assert outputs.expected(command, render).outputs == (
        ExpectedFile(name="a.png", image=True, width=9),
        ExpectedFile(name="b.png"),
        ExpectedFile(name="depth2.exr"),
    )


@pytest.mark.parametrize(
    ("settings", "announced", "words"),
    [
        ({"name": "copy", "setting.how": "--force"}, [{"setting.how": ["--force"]}], None),
        (
            {"name": "copy", "setting.how": "-x"},
            [{"setting.how": ["--force"]}],
            "setting.how='-x' can not be used: write",
        ),
        ({"name": "copy", "setting.who": "me"}, [{"setting.how": None}], "no worker allows the setting 'setting.who'"),
        ({"name": "copy", "setting.how": "anything"}, [{"setting.how": None}], None),
        ({"name": "copy", "setting.how": "2"}, [{"setting.how": ["1"]}, {"setting.how": ["2"]}], None),
        ({"name": "copy", "setting.how": "2"}, [], None),
    ],
)
def test_what_workers_have_announced_decides_about_the_settings_of_their_commands(
    settings: Mapping[str, str], announced: list[Mapping[str, list[str] | None]], words: str | None
) -> None:
    wanted = Work(renderer="command", settings=settings)
    if words is None:
        work.check_allowed(wanted, announced)
        return
    with pytest.raises(JobFileError, match=f"^command:copy: {re.escape(words)}"):
        work.check_allowed(wanted, announced)
