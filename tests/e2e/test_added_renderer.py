"""The example of a renderer of one's own, installed as a separate package, renders on a farm."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import OpenImageIO
import pytest
from farm_processes import FarmProcesses

EXAMPLE = Path(__file__).parents[2] / "examples" / "renderer"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder that the package is installed in."""
    folder = tmp_path_factory.mktemp("renderer")
    source = shutil.copytree(EXAMPLE, folder / "source")
    command = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    subprocess.run((*command, "--target", str(folder / "site"), str(source)), check=True, timeout=120)
    return str(folder / "site")


@pytest.fixture
def with_worker(farm: FarmProcesses, installed: str) -> Iterator[FarmProcesses]:
    """The farm, with a worker that has nothing but this renderer."""
    farm.start(
        "worker", "--name", "fractals", "--renderers", "fractal", "--slots", "2", name="own", PYTHONPATH=installed
    )
    farm.await_ready(workers=2)
    yield farm
    farm.stop("own")


def test_a_renderer_of_ones_own_is_listed_with_its_settings(farm: FarmProcesses, installed: str) -> None:
    listed = farm.distren("renderers", "--json", PYTHONPATH=installed).json
    [found] = [one for one in listed if one["renderer"] == "fractal"]
    assert (found["version"], found["endings"], found["missing"]) == ("1.0", [".fractal"], None)
    shown = farm.distren("renderers", "fractal", PYTHONPATH=installed)
    assert "1 to 10000" in shown.out
    broken = farm.distren(
        "renderers", "fractal", "--json", PYTHONPATH=installed, DISTREN_PROGRAMS='{"fractal": "/none"}'
    )
    assert broken.json["version"] is None
    assert "/none can not be run" in broken.json["missing"]


def test_a_renderer_of_ones_own_renders(with_worker: FarmProcesses, installed: str, tmp_path: Path) -> None:
    scene = EXAMPLE / "seahorse.fractal"
    arguments = ("submit", str(scene), "--frames", "1-3", "--size", "24x16", "-o", str(tmp_path / "out"), "--json")
    done = with_worker.distren(*arguments, PYTHONPATH=installed)
    assert done.code == 0, done.err + with_worker.log("own")
    pictures = [OpenImageIO.ImageBuf(str(path)) for path in sorted((tmp_path / "out").glob("fractal000?.png"))]
    assert [(one.spec().width, one.spec().height) for one in pictures] == [(24, 16)] * 3
    assert pictures[0].get_pixels().tolist() != pictures[2].get_pixels().tolist()


def test_settings_of_ones_own_renderer_are_checked_where_it_is_installed(farm: FarmProcesses, installed: str) -> None:
    scene = EXAMPLE / "seahorse.fractal"
    refused = farm.distren("submit", str(scene), "--frames", "1", "--set", "colours=mud", PYTHONPATH=installed)
    assert refused.code == 3
    assert "colours='mud' of Fractal can not be used: write fire or ice" in refused.err
