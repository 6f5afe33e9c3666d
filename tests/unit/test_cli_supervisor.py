"""Children of `distren up`: started again when they die, ended politely, gone when their parent is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from processes import has_ended
from waiting import wait_for

from distren.cli import instance, supervisor
from distren.cli.supervisor import Child, Program
from distren.errors import Conflict, DistrenError, NoAnswer, NotFound, SchemaError

WAIT = "import time; print('here', flush=True); time.sleep(600)"


def child(tmp_path: Path, code: str) -> Child:
    return Child(
        Program(
            name="server", argv=[sys.executable, "-c", code], environment=os.environ, log=tmp_path / "logs" / "one.log"
        )
    )


def test_a_child_that_dies_is_started_again_after_a_wait(tmp_path: Path) -> None:
    one = child(tmp_path, WAIT)
    one.start()
    try:
        wait_for(lambda: one.last_line() == "here")
        first = one.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: one.pid is None)
        now = time.monotonic()
        assert one.check(now) == "the server ended (killed by SIGKILL), starting it again in 1 s"
        assert one.check(now + 0.9) is None
        assert one.pid is None
        assert one.check(now + 1.1) == "the server runs again"
        assert one.pid not in (None, first)
    finally:
        one.kill()


def test_the_wait_grows_with_each_death(tmp_path: Path) -> None:
    one = child(tmp_path, "print('no luck')")
    one.start()
    now, said = time.monotonic(), []
    for _ in range(3):
        wait_for(lambda: one.pid is None)
        said.append(one.check(now))
        now += 2 ** len(said)
        one.check(now)
    assert [text is not None and text.rsplit(" ", 2)[1] for text in said] == ["1", "2", "4"]


def test_a_child_that_was_told_to_end_is_not_started_again(tmp_path: Path) -> None:
    one = child(tmp_path, WAIT)
    one.start()
    wait_for(lambda: one.last_line() == "here")
    one.send(signal.SIGTERM)
    wait_for(lambda: one.pid is None)
    assert one.check(time.monotonic() + 100) is None


def test_a_first_start_that_fails_is_told_as_the_child_told_it(tmp_path: Path) -> None:
    code = "import sys; print('distren-server: the database is empty', file=sys.stderr); sys.exit(12)"
    one = child(tmp_path, code)
    one.start()
    wait_for(lambda: one.pid is None)
    with pytest.raises(SchemaError, match="the server does not start: the database is empty"):
        one.raise_if_ended()


def test_an_unknown_exit_code_is_an_error_of_no_kind(tmp_path: Path) -> None:
    one = child(tmp_path, "import sys; sys.exit(77)")
    one.start()
    wait_for(lambda: one.pid is None)
    with pytest.raises(DistrenError, match="it said nothing"):
        one.raise_if_ended()


def test_no_child_survives_a_killed_supervisor(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
from pathlib import Path
from distren.cli.supervisor import Child, Program
one = Child(Program(name="server", argv=[sys.executable, "-c", {WAIT!r}], environment=os.environ, log=Path("one.log")))
one.start()
while one.last_line() != "here":
    time.sleep(0.01)
print(one.pid, flush=True)
time.sleep(600)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(supervisor.__file__).parents[2])}
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    orphan = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    wait_for(lambda: has_ended(orphan))


def test_one_up_at_a_time(tmp_path: Path) -> None:
    refused = pytest.raises(Conflict, match=rf"already running \(pid {os.getpid()}\)")
    with instance.claimed(tmp_path), refused, instance.claimed(tmp_path):
        pytest.fail("claimed twice")
    with instance.claimed(tmp_path):
        pass


def test_nothing_to_end(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nothing runs"):
        instance.end(tmp_path, limit=1)
    with instance.claimed(tmp_path):
        pass
    with pytest.raises(NotFound, match="nothing runs"):
        instance.end(tmp_path, limit=1)


def test_down_waits_until_the_other_process_has_ended(tmp_path: Path) -> None:
    code = """
import signal, sys, time
from pathlib import Path
from distren.cli import instance
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with instance.claimed(Path(sys.argv[1])):
    try:
        print("held", flush=True)
        time.sleep(600)
    finally:
        Path(sys.argv[1], "ended").touch()
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(supervisor.__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert instance.end(tmp_path, limit=60) == holder.pid
        assert (tmp_path / "ended").exists()


def test_a_process_that_ends_by_itself_meanwhile_is_no_trouble(tmp_path: Path) -> None:
    """The file may also still hold the number of one that was killed, until its successor has written its own."""
    with subprocess.Popen(["true"]) as ended:
        pass
    with instance.claimed(tmp_path):
        (tmp_path / "up.lock").write_text(f"{ended.pid}\n")
        with pytest.raises(NoAnswer, match=f"the process {ended.pid} has not ended"):
            instance.end(tmp_path, limit=0.1)
