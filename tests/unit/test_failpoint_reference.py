"""docs/reference/failpoints.md lists the failpoints that there are, in their own words."""

from __future__ import annotations

from pathlib import Path

from distren import failpoints

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "failpoints.md"


def test_every_failpoint_is_listed_as_it_is() -> None:
    wanted = [f"| `{name}` | {', '.join(where)} | {what} |" for name, (where, what) in failpoints.POINTS.items()]
    assert [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")] == wanted
