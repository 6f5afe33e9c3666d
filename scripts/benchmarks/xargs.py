"""POV-Ray by xargs: what a person without a farm would do."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path


def render(arguments: Sequence[str], lines: str, *, folder: Path, frames: int, cwd: Path | None = None) -> float:
    """Seconds that `xargs ARGUMENTS` takes to render `frames` into the fresh `folder`; raises RuntimeError."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    start = time.monotonic()
    done = subprocess.run(
        ["xargs", *arguments],
        input=lines.encode(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=cwd,
        check=False,
    )
    took = time.monotonic() - start
    made = len(list(folder.glob("*.png")))
    if done.returncode or made != frames:
        raise RuntimeError(f"xargs made {made} of {frames} frames (status {done.returncode})")
    return took
