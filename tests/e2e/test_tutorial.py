"""Every command of the tutorial works as written, but for smaller pictures and another folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from processes import command_of
from waiting import wait_for

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
SMALL = "--size 64x36"
PATIENCE = 120.0


def lines() -> list[str]:
    """The commands of the tutorial, in order, without their comments."""
    page = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    found = [line.split("  #")[0].strip() for block in BLOCK.findall(page) for line in block.splitlines()]
    return [line for line in found if line and not line.startswith(("#", "scripts/install", ". .venv"))]


class Terminal:
    """A shell's place: folder and environment, with `distren` on its PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = folder / "bin"
        programs.mkdir()
        launcher = programs / "distren"
        launcher.write_text(f"#!{sys.executable}\nfrom distren.cli.main import main\nmain()\n")
        launcher.chmod(0o755)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DISTREN_")}
        self.environment = clean | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "DISTREN_DATA": str(folder / "data"),
            "DISTREN_CONFIG": str(folder / "no-settings.toml"),
        }

    def run(self, line: str) -> str:
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stderr}{done.stdout}"
        return done.stdout


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return Terminal(tmp_path)


def kill_worker(up: subprocess.Popen[bytes]) -> None:
    """What the tutorial's `kill -9 $(pgrep ...)` does, for the worker of this farm alone."""
    [worker] = [child for child in psutil.Process(up.pid).children() if "distren.cli.worker" in command_of(child)]
    worker.send_signal(signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_tutorial_works_as_written(terminal: Terminal) -> None:
    commands = lines()
    start = commands.index("distren up")
    assert commands[:start] == ["distren version"]
    assert commands[-1] == "distren down"
    log = (terminal.folder / "up.log").open("wb")
    up = subprocess.Popen(
        ["distren", "up"],
        cwd=terminal.folder,
        env=terminal.environment,
        executable=terminal.folder / "bin/distren",
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        wait_for(lambda: "\nready" in (terminal.folder / "up.log").read_text(), PATIENCE)
        for line in commands[start + 1 :]:
            if line.startswith("kill -9"):
                kill_worker(up)
            else:
                terminal.run(re.sub(r"--size \S+", SMALL, line))
                if line.startswith("distren pause"):
                    [state] = [job["state"] for job in json.loads(terminal.run("distren jobs --json"))][:1]
                    assert state in ("paused", "done")
        assert up.wait(PATIENCE) == 0
    finally:
        if up.poll() is None:
            os.killpg(up.pid, signal.SIGKILL)
            up.wait()
        log.close()
    assert len(list((terminal.folder / "out/quick").glob("*.png"))) == 24
    assert len(list((terminal.folder / "out/orrery").glob("*.png"))) == 48
    assert (terminal.folder / "out/orrery.mp4").stat().st_size > 1_000
