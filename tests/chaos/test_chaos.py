"""The short versions of scripts/chaos: each kind of fault strikes once, and every result is recorded exactly once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import brokers
import pytest

ACROSS = 3
CHAOS = Path(__file__).parents[2] / "scripts" / "chaos"
SEED = 4


def chaos(folder: Path, *arguments: str) -> Any:
    """Run scripts/chaos, which must find that every promise was kept; what it says."""
    done = subprocess.run(
        [sys.executable, str(CHAOS), *arguments, "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TMPDIR": str(folder)},
    )
    assert done.stdout, done.stderr
    verdict = json.loads(done.stdout)
    assert (verdict["failures"], done.returncode) == ([], 0), done.stderr
    return verdict


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_farm_keeps_its_promise_while_faults_strike(broker_kind: brokers.Kind, tmp_path: Path) -> None:
    verdict = chaos(tmp_path, "--broker", broker_kind, "--seed", str(SEED), "--frames", "1000", "--faults", "15")
    assert (verdict["frames"], verdict["faults"]) == (1000, 15)
    assert verdict["rendered"] >= 1000
    assert verdict["disks"] or os.geteuid() != 0 or not os.environ.get("CI"), "CI can fill disks"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_servers_keep_their_promise_while_lines_are_cut_and_messages_repeated(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--broker") == "container":
        pytest.skip("the three brokers are nodes of this machine")
    shape = ("--servers", "3", "--shape", "ring", "--longest", "12")
    verdict = chaos(tmp_path, *shape, "--seed", str(ACROSS), "--frames", "300", "--faults", "10")
    assert (verdict["servers"], verdict["faults"]) == (3, 10)
    assert verdict["frames"] >= 300
    assert verdict["lent"] > 0
    assert set(verdict["ways"]) >= {"own", "needing"}
    assert "sent" in verdict["ways"] or verdict["doubtful"]
