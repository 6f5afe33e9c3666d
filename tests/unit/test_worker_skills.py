"""What a machine can render."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from distren.config import Settings
from distren.errors import RendererUnavailable
from distren.renderers.protocol import Capability, Renderer
from distren.worker import skills


class Fake:
    def __init__(self, name: str, *, version: str | None = None, missing: str | None = None) -> None:
        self.name, self._capability = name, Capability(version=version, missing=missing)

    def probe(self, program: str | None) -> Capability:
        return self._capability


HERE, GONE = Fake("here", version="1.2"), Fake("gone", missing="install gone")


def find(*adapters: Fake, wanted: list[str] | None = None, **settings: Any) -> skills.Skills:
    installed = {one.name: cast(Renderer, one) for one in adapters}
    return skills.find(installed, Settings(data=Path("nowhere"), **settings), wanted)


def test_a_renderer_whose_program_is_missing_is_left_out() -> None:
    assert find(HERE, GONE).versions == {"here": "1.2"}


def test_a_renderer_that_was_asked_for_must_be_there() -> None:
    with pytest.raises(RendererUnavailable, match="gone: install gone"):
        find(HERE, GONE, wanted=["here", "gone"])


def test_a_machine_that_can_render_nothing_says_what_to_install() -> None:
    with pytest.raises(RendererUnavailable, match="a: install a; b: install b"):
        find(Fake("a", missing="install a"), Fake("b", missing="install b"))


def test_an_unknown_renderer_is_named_with_those_that_there_are() -> None:
    with pytest.raises(RendererUnavailable, match="'other'; installed here: gone, here"):
        find(HERE, GONE, wanted=["other"])


def test_the_program_is_the_one_that_the_settings_name() -> None:
    found = find(Fake("povray", version="3.7"), HERE, povray="/opt/povray")
    assert found.programs == {"povray": "/opt/povray", "here": None}
