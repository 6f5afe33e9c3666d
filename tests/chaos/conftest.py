"""`trials`: what scripts/chaos is made of can be imported, and the trial renderer is installed, as for its farms."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distren.renderers import registry

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))


@pytest.fixture(scope="session")
def trial_renderer() -> Iterator[None]:
    """the trial renderer is installed in this process meanwhile."""
    folder = str(SCRIPTS / "trials" / "renderer")
    sys.path.insert(0, folder)
    registry.installed.cache_clear()
    assert "trial" in registry.installed()
    yield
    sys.path.remove(folder)
    registry.installed.cache_clear()
