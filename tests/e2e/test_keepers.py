"""The processes that start programs: used again and again, one program at a time; what follows when one is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from processes import has_ended
from waiting import wait_for

from distren.errors import RenderError
from distren.renderers.protocol import Command
from distren.worker import keepers, process
from distren.worker.limits import Limits
from distren.worker.process import Outcome, Stop
from distren.worker.sandbox import Mode, Sandbox, View

OPEN = Sandbox(mode=Mode.BARE)
WORKER = """
from pathlib import Path
from distren.renderers.protocol import Command
from distren.worker import keepers, process
from distren.worker.limits import Limits
from distren.worker.sandbox import Mode, Sandbox, View

keepers.adopt_orphans()
here = Path.cwd()
outcome = process.run(
    Command(argv=("/bin/sh", "program.sh")), sandbox=Sandbox(mode=Mode.BARE), view=View(folder=here, temporary=here),
    read_line=lambda _: None, on_progress=lambda _: None, limits=Limits(time=60), stop=process.Stop(),
)
print(outcome.trouble.text)
"""


@pytest.fixture(autouse=True)
def _keepers_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepers, "_idle", [])


def run(folder: Path, script: str, *, hear: Callable[[], None] = lambda: None) -> Outcome:
    """Run a script; `hear` is called at each line that it says."""
    return process.run(
        Command(argv=("/bin/sh", "-c", script)),
        sandbox=OPEN,
        view=View(folder=folder, temporary=folder),
        read_line=lambda _: hear(),
        on_progress=lambda _: None,
        limits=Limits(time=60),
        stop=Stop(),
    )


def test_a_keeper_starts_one_program_after_the_other(tmp_path: Path) -> None:
    parents = {run(tmp_path, "echo $PPID").log for _ in range(3)}
    assert len(parents) == 1
    keeper = psutil.Process(int(parents.pop()))
    assert keeper.ppid() == os.getpid()
    assert keeper.children() == []


def test_two_programs_at_once_have_a_keeper_each(tmp_path: Path) -> None:
    """Each writes its keeper's number and waits for the other's."""
    logs: list[bytes] = []

    def one(mine: str, other: str) -> None:
        script = f"touch {mine}; while [ ! -e {other} ]; do sleep 0.01; done; echo $PPID"
        logs.append(run(tmp_path, script).log)

    threads = [threading.Thread(target=one, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(set(logs)) == 2


def test_a_program_gets_no_descriptors_and_no_signals_of_its_keeper(tmp_path: Path) -> None:
    found = run(tmp_path, "ls /proc/self/fd | wc -l; grep SigIgn /proc/self/status | cut -f 2").log
    count, ignored = found.decode().splitlines()
    assert int(count) == 4  # 0, 1, 2, and the folder that is listed
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
        assert not int(ignored, 16) >> (number - 1) & 1, number


def test_the_attempt_of_a_keeper_that_is_killed_fails_and_the_next_has_another(tmp_path: Path) -> None:
    script = "echo $PPID; while [ ! -e heard ]; do sleep 0.01; done; kill -KILL $PPID"
    with subprocess.Popen(["/bin/sleep", "300"], start_new_session=True) as bystander:
        outcome = run(tmp_path, script, hear=(tmp_path / "heard").touch)
        assert bystander.poll() is None  # we are no worker, and have children of other kinds
        bystander.kill()
    assert outcome.trouble is not None
    assert "SIGKILL" in outcome.trouble.text
    assert run(tmp_path, "echo $PPID").log != outcome.log


def test_nothing_is_left_of_a_program_whose_keeper_is_killed(tmp_path: Path) -> None:
    """Neither what has a session of its own and a parent no more, nor the program, which would have gone on."""
    (tmp_path / "program.sh").write_text(
        "(setsid sh -c 'echo $$ >far; sleep 300') & sleep 300 & echo $! >near; echo $$ >own\n"
        "while [ ! -s far ]; do sleep 0.01; done; kill -KILL $PPID; while :; do sleep 1; done\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", WORKER], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert "SIGKILL" in ran.stdout, ran.stderr
    for name in ("far", "near", "own"):
        assert not psutil.pid_exists(int((tmp_path / name).read_text()))


def test_a_keeper_that_was_killed_while_it_waited_is_not_used(tmp_path: Path) -> None:
    first = run(tmp_path, "echo $PPID").log
    keeper = psutil.Process(int(first))
    keeper.send_signal(signal.SIGKILL)
    wait_for(lambda: has_ended(keeper))
    assert run(tmp_path, "echo $PPID").log != first


def test_a_keeper_goes_on_after_a_program_that_could_not_be_started(tmp_path: Path) -> None:
    first = run(tmp_path, "echo $PPID").log
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF and nothing more")
    broken.chmod(0o755)
    with pytest.raises(RenderError, match="can not be started"):
        process.run(
            Command(argv=(str(broken),)),
            sandbox=OPEN,
            view=View(folder=tmp_path, temporary=tmp_path),
            read_line=lambda _: None,
            on_progress=lambda _: None,
            limits=Limits(time=60),
            stop=Stop(),
        )
    assert run(tmp_path, "echo $PPID").log == first


def test_a_worker_that_tries_out_its_sandbox_is_left_with_no_dead_process(tmp_path: Path) -> None:
    """It inherits what its programs leave behind, and bubblewrap leaves its own first process."""
    script = (
        "import sys, psutil; from pathlib import Path; from distren.worker import keepers, sandbox; "
        "keepers.adopt_orphans(); found = sandbox.find('auto', shared=[], folder=Path(sys.argv[1])); "
        "print(found.mode, [child.status() for child in psutil.Process().children() if child.status() == 'zombie'])"
    )
    ran = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert ran.stdout == "sandbox []\n"
