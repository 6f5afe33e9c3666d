"""What a command imports before it does anything: what that takes is felt at every command."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"OpenImageIO", "alembic", "av", "httpx", "numpy", "psutil", "sqlalchemy"}
NEED_THEM = ("broker", "down", "preview", "up")
"""commands that run a broker or a farm, or show pictures"""

LOAD = """
from distren.cli.main import distren
for name in {{*distren.list_commands(None)}} - {{*{but}}}: distren.get_command(None, name)
"""


def imported(code: str) -> set[str]:
    """The modules that a process has after `code`, which leaves the garbage collector at work."""
    shown = "import gc, json, sys; assert gc.isenabled(); print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{shown}"], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_commands_that_talk_to_a_server_import_no_database_pictures_or_videos() -> None:
    found = imported(LOAD.format(but=NEED_THEM) + "\nimport distren.client.farm")
    assert {"distren.cli.jobs", "distren.cli.submit", "distren.cli.files"} <= found
    assert not found & HEAVY


def test_the_help_of_all_commands_imports_no_database() -> None:
    found = imported(LOAD.format(but=()))
    assert "distren.cli.database" in found
    assert not found & {"alembic", "av", "httpx", "sqlalchemy"}


@pytest.mark.parametrize("program", ["server", "worker"])
def test_a_program_says_its_version_before_it_imports_what_it_runs(program: str) -> None:
    found = imported(f"import distren.cli.{program}")
    assert not found & {*HEAVY, "rich", "pika"}


def test_the_package_alone_imports_next_to_nothing() -> None:
    assert not imported("import distren") & {"importlib.metadata", "pydantic", "click"}


def test_the_process_that_examines_seeds_imports_no_database_and_no_settings() -> None:
    found = imported("from distren.server import examination\nexamination.registry.installed()")
    assert not found & {*HEAVY, "rich", "pika", "pydantic_settings"}
