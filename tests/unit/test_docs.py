"""The documentation leads nowhere wrong: links, and the tests that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)(?:#[^)]*)?\)")
NAMED = re.compile(r"\[`(test_\w+)`\]\(([^)]+)\)")


def test_there_are_pages() -> None:
    assert len(PAGES) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    local = [link for link in links if not link.startswith(("http:", "https:", "mailto:"))]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_the_requirements_name_tests() -> None:
    assert len(NAMED.findall((ROOT / "docs/requirements.md").read_text(encoding="utf-8"))) > 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    missing = [
        name
        for name, file in NAMED.findall(page.read_text(encoding="utf-8"))
        if not re.search(rf"^ *def {name}\(", (page.parent / file).read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert missing == []
