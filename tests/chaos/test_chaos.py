"""The short versions of scripts/chaos: each kind of fault strikes once, and every result is recorded exactly once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import brokers
import pytest

ACROSS = 3
CHAOS = Path(__file__).parents[2] / "scripts" / "chaos"
SEED = 4


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_farm_keeps_its_promise_while_faults_strike(broker_kind: brokers.Kind, tmp_path: Path) -> None:
    command = [sys.executable, str(CHAOS), "--seed", str(SEED), "--frames", "1000", "--faults", "15", "--json"]
    done = subprocess.run(
        [*command, "--broker", broker_kind],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert done.stdout, done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["failures"] == [], done.stderr
    assert (verdict["frames"], verdict["faults"]) == (1000, 15)
    assert verdict["rendered"] >= 1000
    assert done.returncode == 0
    assert verdict["disks"] or os.geteuid() != 0 or not os.environ.get("CI"), "CI can fill disks"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_servers_keep_their_promise_while_lines_are_cut_and_messages_repeated(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--broker") == "container":
        pytest.skip("the three brokers are nodes of this machine")
    command = [sys.executable, str(CHAOS), "--servers", "3", "--shape", "ring", "--seed", str(ACROSS)]
    done = subprocess.run(
        [*command, "--frames", "300", "--faults", "10", "--longest", "12", "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert done.stdout, done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["failures"] == [], done.stderr
    assert (verdict["servers"], verdict["faults"]) == (3, 10)
    assert verdict["frames"] >= 300
    assert verdict["lent"] > 0
    assert set(verdict["ways"]) >= {"own", "needing"}
    assert "sent" in verdict["ways"] or verdict["doubtful"]
    assert done.returncode == 0
