"""Programs that a worker's owner lists: what a job may say to them, and what it may not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from distren.config import Settings
from distren.errors import JobFileError, SettingsError
from distren.renderers import registry
from distren.renderers.command import ListedCommands
from distren.renderers.protocol import AttemptFailed, Command, Progress, Task, Trouble

UPSCALE: dict[str, Any] = {
    "program": "/bin/sh",
    "arguments": ["{input}", "--to={output}", "-f", "{frame:04}", "{setting.scale}", "{setting.label}", "{width}"],
    "outputs": ["up{frame:04}.png", "notes{frame}.txt"],
    "progress": r"(\d+)%",
    "trouble": r"^oops: (.*)",
    "settings": {"scale": {"choices": ["2", "-4"], "default": "2"}, "label": {"pattern": "[-{}()a-z.$; ]+"}},
}
GIVEN = {"name": "upscale", "input": "a.png", "setting.label": "sharp"}


def adapter(**changes: Any) -> ListedCommands:
    listed = {"upscale": {**UPSCALE, **changes}}
    return ListedCommands().configured(Settings(data=Path("nowhere"), commands=listed))


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    (tmp_path / "a.png").touch()
    (tmp_path / "out.png").symlink_to("/etc/passwd")
    return tmp_path


def command(inputs: Path, settings: Mapping[str, str], **changes: Any) -> Command:
    task = Task(
        frame=7, first=1, last=9, width=64, height=48, settings=settings, inputs=inputs, output=Path("/attempt/output")
    )
    return adapter(**changes).command(task, None)


def test_a_frame_is_the_owners_template_with_the_braces_filled(inputs: Path) -> None:
    made = command(inputs, GIVEN)
    assert made.argv == (
        "/bin/sh", f"{inputs}/a.png", "--to=/attempt/output/up0007.png", "-f", "0007", "2", "sharp", "64",
    )  # fmt: skip
    assert [(one.name, one.image) for one in made.outputs] == [("up0007.png", True), ("notes7.txt", False)]
    assert made.read_line is not None
    assert made.read_line("at 30%") == Progress(30.0)
    assert made.read_line("oops: no ink") == Trouble("no ink")
    assert made.read_line("hello") is None


@pytest.mark.parametrize("hostile", ["$(reboot); ", "a b; c", "{input}", "{setting.scale}", "..", "${}"])
def test_a_value_stays_one_argument_and_is_never_read_again(inputs: Path, hostile: str) -> None:
    made = command(inputs, {**GIVEN, "setting.label": hostile})
    assert made.argv[6] == hostile
    assert len(made.argv) == 8


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"setting.scale": "3"}, "setting.scale='3' can not be used: write 2, -4"),
        ({"setting.scale": "2\n"}, "can not be used"),
        ({"setting.label": "UP"}, "text that matches"),
        ({"setting.label": "-rf"}, "begins like an option"),
        ({"setting.label": "a\0"}, "can not be used"),
        ({"setting.program": "/bin/rm"}, "has no setting 'program'; there are setting.scale, setting.label"),
        ({"program": "/bin/rm"}, "no setting 'program'"),
        ({"arguments": "x"}, "no setting 'arguments'"),
        ({"setting.Scale": "2"}, "no identifier"),
        ({"input": "../../etc/passwd"}, "a path in the seed"),
        ({"input": "/etc/passwd"}, "a path in the seed"),
        ({"input": "out.png"}, "holds no file 'out.png'"),
        ({"input": "-x"}, "holds no file"),
        ({"name": "../upscale"}, "the name of a listed command"),
        ({"name": "/bin/sh"}, "the name of a listed command"),
        ({"name": "other"}, "this worker has no command 'other'; it has upscale"),
    ],
)
def test_what_the_owner_does_not_allow_is_refused(inputs: Path, settings: dict[str, str], complaint: str) -> None:
    with pytest.raises((JobFileError, AttemptFailed), match=complaint):
        command(inputs, {**GIVEN, **settings})


def test_a_choice_of_the_owners_may_look_like_an_option(inputs: Path) -> None:
    assert "-4" in command(inputs, {**GIVEN, "setting.scale": "-4"}).argv


def test_what_a_command_needs_must_be_given(inputs: Path) -> None:
    with pytest.raises(JobFileError, match=r"command 'upscale': this command needs setting.label: write text that"):
        command(inputs, {"name": "upscale", "input": "a.png"})
    with pytest.raises(AttemptFailed, match="needs an input"):
        command(inputs, {"name": "upscale", "setting.label": "x"})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"arguments": ["{setting.size}"]},
            r"uses \{setting.size\}: declare it under \[commands.upscale.settings.size\]",
        ),
        ({"arguments": ["{shell}"]}, "which is not known"),
        ({"outputs": ["../x.png"]}, "plain names"),
        ({"outputs": ["{setting.label}.png"]}, "plain names"),
        ({"outputs": []}, "commands.upscale.outputs can not be used"),
        ({"settings": {"scale": {}, "label": {"choices": ["a"]}}}, "settings.scale allows nothing"),
        ({"settings": {"scale": {"choices": ["2"], "default": "3"}, "label": {"choices": ["a"]}}}, "default is '3'"),
        ({"settings": {"scale": {"pattern": "("}, "label": {"choices": ["a"]}}}, "no regular expression"),
        ({"progress": "%"}, "marks nothing"),
        ({"shell": True}, "commands.upscale.shell can not be used"),
    ],
)
def test_a_listing_that_can_not_be_used_is_named(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        adapter(**changes)


def test_each_listed_command_is_a_capability_of_its_own() -> None:
    found = adapter().probe(None)
    assert list(found.offers) == ["command:upscale"]
    assert adapter(arguments=[]).probe(None).offers != found.offers
    assert adapter(version="7").probe(None).offers == {"command:upscale": "7"}
    assert registry.capability("command", GIVEN) == "command:upscale"
    assert registry.capability("povray", {"name": "upscale"}) == "povray"


def test_a_worker_without_commands_says_how_to_list_them() -> None:
    assert "offer-a-command" in (ListedCommands().probe(None).missing or "")
    assert "'/none' of command 'upscale' is not there" in (adapter(program="/none").probe(None).missing or "")
