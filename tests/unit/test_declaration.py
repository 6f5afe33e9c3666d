"""What renderers declare: the settings that they take, and what is said about those that they do not."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from distren.errors import JobFileError
from distren.renderers import registry
from distren.renderers.declaration import SWITCH, TILE, Declaration, Kind, Setting

ROOT = Path(__file__).parents[2]
EVERYTHING = Declaration(
    title="Potato",
    endings=(".potato",),
    needed=("scene",),
    settings=(
        Setting(name="scene", kind=Kind.PATH, meaning="the scene"),
        Setting(name="peeled", words=SWITCH, meaning="whether it is peeled"),
        Setting(name="salt", kind=Kind.NUMBER, words=("off",), above=0, highest=5, meaning="grams"),
        Setting(name="count", kind=Kind.WHOLE, lowest=1, highest=9, meaning="how many"),
        Setting(name="title", kind=Kind.TEXT, pattern="[a-z]{1,5}", meaning="what it is called"),
        Setting(name="more", kind=Kind.PATHS, meaning="other files"),
        Setting(name="declare", kind=Kind.NUMBER, names="[A-Z]", meaning="a number for NAME"),
        *TILE,
    ),
)
TILE_OF_FOUR = {"tile-left": "0", "tile-top": "0", "tile-width": "8", "tile-height": "8"}


@pytest.mark.parametrize(
    "values",
    [
        {"peeled": "on"},
        {"salt": "off"},
        {"salt": "0.5e0"},
        {"count": "9"},
        {"title": "maris"},
        {"more": "a:b/c d.png"},
        {"declare.X": "-3"},
        TILE_OF_FOUR,
    ],
)
def test_what_is_declared_is_allowed(values: dict[str, str]) -> None:
    EVERYTHING.check({"scene": "a.potato", **values})


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"peeled": "yes"}, "setting peeled='yes' of Potato can not be used: write on or off"),
        ({"salt": "0"}, "write off or a number over 0, up to 5"),
        ({"salt": "nan"}, "can not be used"),
        ({"salt": "5.1"}, "can not be used"),
        ({"count": "0"}, "write 1 to 9"),
        ({"count": "1.0"}, "write 1 to 9"),
        ({"count": "\u0661"}, "write 1 to 9"),
        ({"title": "maris\n"}, r"text that matches \[a-z\]"),
        ({"more": "a:../b"}, "paths in the seed"),
        ({"scene": "/etc/passwd"}, "a path in the seed"),
        ({"scene": "a\nb"}, "a path in the seed"),
        ({"declare.x": "1"}, "'x' is no identifier"),
        ({"declare": "1"}, "no setting 'declare'; there are scene, peeled, .*declare.NAME"),
        ({"declare.X.Y": "1"}, "no identifier"),
        ({"peeled.X": "on"}, "no setting 'peeled.X'"),
        ({"tile-left": "0"}, "lack tile-top: a tile has all four, or none"),
    ],
)
def test_anything_else_is_refused_with_what_to_write(values: dict[str, str], complaint: str) -> None:
    with pytest.raises(JobFileError, match=complaint):
        EVERYTHING.check({"scene": "a.potato", **values})


def test_a_setting_that_is_needed_is_named() -> None:
    with pytest.raises(JobFileError, match="lack scene: the scene"):
        EVERYTHING.check({"peeled": "on"})


def test_scenes_are_known_by_their_endings() -> None:
    assert EVERYTHING.accepts(Path("A.POTATO"))
    assert not EVERYTHING.accepts(Path("potato"))


@pytest.mark.parametrize("name", sorted(registry.installed()))
def test_every_renderer_declares_its_settings_well(name: str) -> None:
    declared = registry.named(name).declaration
    names = [setting.name for setting in declared.settings]
    assert declared.title
    assert declared.about
    assert len(names) == len(set(names))
    assert set(declared.needed) <= set(names)
    for setting in declared.settings:
        assert setting.meaning
        assert setting.values
        assert setting.kind is not Kind.WORD or setting.words
        assert (setting.pattern is not None) == (setting.kind is Kind.TEXT)


def test_the_reference_of_the_renderers_is_current() -> None:
    place = ROOT / "scripts" / "renderer_reference.py"
    spec = importlib.util.spec_from_file_location("renderer_reference", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run scripts/renderer_reference.py"
