"""A wheel, installed into an empty environment, works without the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
FOLDERS = ("migrations", "broker", "workers")


def run(*command: str | Path, cwd: Path) -> str:
    """What `command` prints; nothing of the checkout or of the tests' own environment reaches it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DISTREN", "VIRTUAL"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | {"DISTREN_CONFIG": str(cwd / "none.toml"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_of(folder: Path) -> set[str]:
    """What the checkout's folder holds, apart from what Python leaves there."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, CHECKOUT, cwd=folder)
    (built,) = folder.glob("distren-*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment that holds the wheel; the tests' own environment lends it the libraries."""
    home = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", home / "env", cwd=home)
    python = home / "env" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=home)
    (site,) = (home / "env" / "lib").glob("python3.*/site-packages")
    lent = sysconfig.get_path("platlib")  # after the environment's own, so that the wheel's package is the first found
    (site / "lent.pth").write_text(f"import site; site.addsitedir({lent!r})\n", "utf-8")
    return python.parent


def test_the_package_is_the_one_that_was_installed(environment: Path, tmp_path: Path) -> None:
    place = run(environment / "python", "-c", "import distren; print(distren.__file__)", cwd=tmp_path)
    assert Path(place.strip()).is_relative_to(environment.parent)


@pytest.mark.parametrize("name", sorted(PROJECT["scripts"]))
def test_every_command_starts(environment: Path, tmp_path: Path, name: str) -> None:
    assert "Usage:" in run(environment / name, "--help", cwd=tmp_path)


def test_distren_says_its_version(environment: Path, tmp_path: Path) -> None:
    assert json.loads(run(environment / "distren", "version", "--json", cwd=tmp_path)) == {
        "version": PROJECT["version"]
    }


@pytest.mark.parametrize("name", FOLDERS)
def test_the_files_that_other_programs_read_travel_in_the_wheel(environment: Path, tmp_path: Path, name: str) -> None:
    code = f"from distren import resources; print(resources.folder('{name}'))"
    place = Path(run(environment / "python", "-c", code, cwd=tmp_path).strip())
    assert place.is_relative_to(environment.parent)
    assert files_of(place) == files_of(CHECKOUT / name) != set()


def test_the_renderers_are_found(environment: Path, tmp_path: Path) -> None:
    code = "from distren.renderers import registry; print(*registry.installed())"
    assert "povray" in run(environment / "python", "-c", code, cwd=tmp_path).split()


def test_a_database_is_made_from_the_migrations_in_the_wheel(environment: Path, tmp_path: Path) -> None:
    run(environment / "distren", "db", "upgrade", "--data", tmp_path / "farm", cwd=tmp_path)
    assert (tmp_path / "farm" / "server" / "distren.db").stat().st_size > 0


def test_the_wheel_holds_no_leftovers(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if "__pycache__" in name or name.startswith(("tests", "scripts"))] == []
