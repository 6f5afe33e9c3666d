"""Programs of our own that run as child processes of a worker: in Python, from the same DistRen as the worker."""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_RUN = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module(sys.argv.pop(1), run_name='__main__')"


def arguments(module: str, *more: str) -> tuple[str, ...]:
    """How `module` of DistRen is run with these arguments; nothing of the environment or of the folder counts."""
    return (sys.executable, "-I", "-c", _RUN, str(_ROOT), module, *more)
