"""Child processes: what they say, how they end, and that nothing of them stays."""

from __future__ import annotations

import resource
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from waiting import wait_for

from distren.errors import RenderError
from distren.renderers.protocol import Command, Progress, Trouble
from distren.worker import process, sandbox
from distren.worker.limits import Limits
from distren.worker.process import CENSUS, Outcome, Stop
from distren.worker.sandbox import Sandbox, View
from distren.worker.transcript import KEPT

HOUSES = {
    "sandbox": lambda folder: sandbox.find("on", shared=(), folder=folder),
    "off": lambda folder: sandbox.find("off", shared=(), folder=folder),
}


@pytest.fixture(params=HOUSES, autouse=True)
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Sandbox:
    """Every test here is made in each way to start a program, unless it asks for one."""
    made = HOUSES[request.param](tmp_path)
    _RUNS_IN[:] = [made]
    return made


_RUNS_IN: list[Sandbox] = []
LONG = 50.0
"""seconds; nothing here takes as long but a program that nobody ends: those sleep for 100 s"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs are asked to end, and not killed within the time of a test."""
    monkeypatch.setattr(process, "GRACE", 2 * LONG)


def view(folder: Path) -> View:
    (folder / "its tmp").mkdir(exist_ok=True)
    return View(folder=folder, temporary=folder / "its tmp")


def read_line(line: str) -> Progress | Trouble | None:
    if line.endswith("%"):
        return Progress(float(line[:-1]))
    return Trouble(line, permanent=True) if line.startswith("Error") else None


def shell(script: str, **more: object) -> Command:
    return Command(argv=("/bin/sh", "-c", script), **more)  # type: ignore[arg-type]


def run(
    command: Command,
    folder: Path,
    *,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[float], None] = lambda _: None,
) -> Outcome:
    return process.run(
        command,
        sandbox=_RUNS_IN[0],
        view=view(folder),
        read_line=read_line,
        on_progress=on_progress,
        limits=limits or Limits(time=60.0),
        stop=stop or Stop(),
    )


def sleeper(folder: Path) -> str:
    """A command that sleeps, and that `is_asleep` knows again: in a namespace a program has another number."""
    return f"sleep 100.{zlib.crc32(bytes(folder))}"


def is_asleep(folder: Path) -> bool:
    wanted = sleeper(folder).split()
    return any(process.info["cmdline"] == wanted for process in psutil.process_iter(["cmdline"]))


def test_output_arrives_line_by_line_also_at_carriage_returns(tmp_path: Path) -> None:
    told: list[float] = []
    script = r"printf 'one\r10%%\r10%%\r50%%\ntwo\n' ; printf 'three' >&2"
    outcome = run(shell(script), tmp_path, on_progress=told.append)
    assert outcome.status == 0
    assert outcome.trouble is None
    assert told == [10.0, 50.0]
    assert outcome.log == b"one\ntwo\nthree\n"


def test_a_failure_carries_the_programs_own_message(tmp_path: Path) -> None:
    outcome = run(shell("echo hello; echo 'Error in line 3'; exit 1"), tmp_path)
    assert outcome.status == 1
    assert outcome.trouble == Trouble("Error in line 3", permanent=True)


def test_a_failure_without_a_known_message_carries_the_last_line(tmp_path: Path) -> None:
    outcome = run(shell("echo hello; echo 'no licence'; exit 5"), tmp_path)
    assert outcome.trouble == Trouble("sh ended with status 5: no licence")


def test_an_error_line_of_a_program_that_ends_well_is_no_trouble(tmp_path: Path) -> None:
    assert run(shell("echo 'Error, but I go on'"), tmp_path).trouble is None


def test_another_good_status_may_be_named(tmp_path: Path) -> None:
    assert run(shell("exit 3", good_statuses=frozenset({3})), tmp_path).trouble is None


def test_lines_that_the_program_breaks_are_joined(tmp_path: Path) -> None:
    script = r"printf 'Error 89abc\nshort\nError: word\n wrapped\n\n50%%\n'; exit 1"
    outcome = run(shell(script, wraps_at=11), tmp_path)
    assert outcome.log.splitlines() == [b"Error 89abcshort", b"Error: word wrapped"]


def test_the_environment_is_clean_and_stdin_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTREN_BROKER", "amqp://user:secret@example.org/")
    outcome = run(shell("cat; pwd; env", environment={"EXTRA": "yes"}), tmp_path)
    text = outcome.log.decode()
    assert "secret" not in text
    assert f"HOME={tmp_path}" in text
    assert "EXTRA=yes" in text
    assert text.splitlines()[0] == str(tmp_path)


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match="'no-such-program' is not on this worker"):
        run(Command(argv=("no-such-program",)), tmp_path)
    assert CENSUS.running == 0


def test_a_program_that_may_not_be_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a program")
    with pytest.raises(RenderError, match="can not be started"):
        run(Command(argv=(str(tmp_path / "data"),)), tmp_path)


def test_a_time_limit_ends_a_program(tmp_path: Path) -> None:
    outcome = run(shell("exec sleep 100"), tmp_path, limits=Limits(time=0.3))
    assert outcome.over
    assert outcome.status is None
    assert outcome.trouble is not None
    assert "limit of 0.3 s" in outcome.trouble.text
    assert 0.3 <= outcome.seconds < LONG


def test_a_program_that_closes_its_output_and_hangs_is_timed_out(tmp_path: Path) -> None:
    outcome = run(shell("exec sleep 100 >&- 2>&-"), tmp_path, limits=Limits(time=0.3))
    assert outcome.over


def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    stop, asked = Stop(), []
    deaf = tmp_path / "deaf"

    def ask() -> None:
        wait_for(deaf.exists)
        asked.append(time.monotonic())
        stop.set()

    thread = threading.Thread(target=ask)
    thread.start()
    outcome = run(shell("trap '' TERM; touch deaf; while :; do sleep 0.05; done"), tmp_path, stop=stop)
    thread.join()
    assert outcome.stopped
    assert process.GRACE <= time.monotonic() - asked[0] < LONG


@pytest.mark.parametrize("kind", [Stop, threading.Event])
def test_a_stop_ends_a_program_and_its_children(tmp_path: Path, kind: type[threading.Event], asked: None) -> None:
    stop, outcomes = kind(), []
    command = shell(f"trap 'echo I end; exit 1' TERM; {sleeper(tmp_path)} & wait")
    thread = threading.Thread(target=lambda: outcomes.append(run(command, tmp_path, stop=stop)))
    thread.start()
    wait_for(lambda: is_asleep(tmp_path))
    stop.set()
    thread.join(LONG)
    assert not thread.is_alive()
    assert outcomes[0].stopped
    assert outcomes[0].log == b"I end\n"
    wait_for(lambda: not is_asleep(tmp_path))


def test_a_stop_before_the_start_ends_a_program_at_once(tmp_path: Path, asked: None) -> None:
    stop = Stop()
    stop.set()
    outcome = run(shell("exec sleep 100"), tmp_path, stop=stop)
    assert outcome.stopped
    assert outcome.seconds < LONG


def test_what_the_program_started_dies_with_it_and_holds_nobody_up(tmp_path: Path) -> None:
    outcome = run(shell(f"{sleeper(tmp_path)} & echo done"), tmp_path)
    assert outcome.status == 0
    assert outcome.log == b"done\n"
    assert outcome.seconds < LONG
    wait_for(lambda: not is_asleep(tmp_path))


def test_a_process_that_left_group_parent_and_environment_holds_nobody_up_and_goes(tmp_path: Path) -> None:
    left = f"(env -i setsid sh -c 'touch left; exec {sleeper(tmp_path)}' &) &"  # it has left before the program ends
    outcome = run(shell(f"trap '' TERM HUP; {left} while [ ! -e left ]; do sleep 0.01; done; echo done"), tmp_path)
    assert outcome.log == b"done\n"
    assert outcome.seconds < LONG
    wait_for(lambda: not is_asleep(tmp_path))


def test_a_killed_program_is_called_killed(tmp_path: Path) -> None:
    outcome = run(shell("kill -KILL $$"), tmp_path)
    assert outcome.status is None
    assert outcome.trouble is not None
    assert "SIGKILL" in outcome.trouble.text
    assert "memory" in outcome.trouble.text
    crashed = run(shell("kill -SEGV $$"), tmp_path)
    assert crashed.trouble == Trouble("sh was ended by SIGSEGV")


def test_much_output_does_not_eat_memory(tmp_path: Path) -> None:
    script = "print('first'); [print('x' * 999) for _ in range(30_000)]; print('y' * 10_000_000); print('last')"
    seen = 0

    def count(line: str) -> None:
        nonlocal seen
        seen += len(line)

    outcome = process.run(
        Command(argv=(sys.executable, "-c", script)),
        sandbox=_RUNS_IN[0],
        view=view(tmp_path),
        read_line=count,
        on_progress=lambda _: None,
        limits=Limits(time=120),
        stop=Stop(),
    )
    assert seen == 30_000 * 999 + 10_000_000 + 9
    assert len(outcome.log) < 2 * KEPT + 200
    assert outcome.log.startswith(b"first\n")
    assert outcome.log.endswith(b"last\n")
    assert b"bytes are cut out here" in outcome.log


def test_memory_and_processor_time_are_measured(tmp_path: Path) -> None:
    script = "x = b'x' * 100_000_000\nfor i in range(2_000_000): pass"
    outcome = run(Command(argv=(sys.executable, "-c", script)), tmp_path)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # the kernel counts the parent until the exec
    assert 100e6 < outcome.memory <= max(300e6, own)
    assert outcome.processor > 0.01
    assert (CENSUS.peak or 0) >= outcome.memory


def test_an_error_of_a_listener_ends_the_program(tmp_path: Path) -> None:
    def fails(_percent: float) -> None:
        raise ZeroDivisionError

    began = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        run(shell("echo 5%; exec sleep 100"), tmp_path, on_progress=fails)
    assert time.monotonic() - began < LONG
    assert CENSUS.running == 0


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    run(shell(":"), tmp_path)
    before = len(list(descriptors.iterdir()))
    for _ in range(20):
        run(shell("sleep 100 & :"), tmp_path)
    assert len(list(descriptors.iterdir())) <= before
