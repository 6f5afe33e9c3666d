"""Every point that the code reaches is in the registry and in the documentation, and the other way round."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distren.failpoints import POINTS, VARIABLE

ROOT = Path(__file__).parents[2]
REACHED = re.compile(r"failpoints\.reach\(\"([a-z.]+)\"\)")


def test_the_code_reaches_exactly_the_points_of_the_registry() -> None:
    found = {name for path in (ROOT / "distren").rglob("*.py") for name in REACHED.findall(path.read_text())}
    assert found == set(POINTS)


def test_the_documentation_lists_them_all() -> None:
    page = (ROOT / "docs/reference/failpoints.md").read_text(encoding="utf-8")
    rows = [f"| `{name}` | {', '.join(programs)} | {meaning} |" for name, (programs, meaning) in POINTS.items()]
    assert [row for row in rows if row not in page] == []
    assert page.count("| `") == len(rows)


def reaching(wish: str, *names: str) -> int:
    """How a process ends that reaches these points."""
    code = f"from distren import failpoints\nfor name in {names!r}: failpoints.reach(name)"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, VARIABLE: wish}, check=False)
    return done.returncode


@pytest.mark.parametrize(
    ("wish", "names", "status"),
    [
        ("b", ("a", "c"), 0),
        ("b", ("a", "b"), -signal.SIGKILL),
        ("b:2", ("b", "a"), 0),
        ("b:2", ("b", "a", "b"), -signal.SIGKILL),
        ("", ("a", "b"), 0),
    ],
)
def test_a_process_dies_at_its_point(wish: str, names: tuple[str, ...], status: int) -> None:
    assert reaching(wish, *names) == status


def test_a_file_can_name_the_point(tmp_path: Path) -> None:
    order = tmp_path / "order"
    assert reaching(f"@{order}", "b") == 0
    order.write_text("b\n")
    assert reaching(f"@{order}", "b") == -signal.SIGKILL
