"""What programs in the sandbox can not do, and that none outlives its worker; real bubblewrap, real POV-Ray."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import zlib
from pathlib import Path

import psutil
import pytest
from waiting import wait_for

from distren.errors import OutputError, SettingsError
from distren.renderers.povray import PovRay
from distren.renderers.protocol import Command, Task
from distren.worker import process, sandbox
from distren.worker.limits import Limits
from distren.worker.process import Outcome, Stop
from distren.worker.sandbox import Mode, Sandbox, View

CLOSED = Sandbox(mode=Mode.SANDBOX)
BWRAP = shutil.which("bwrap")


@pytest.fixture
def view(tmp_path: Path) -> View:
    """A frame's folders: `output`, `tmp`, and `inputs` with one file; `secret` beside them is another's."""
    for name in ("output", "tmp", "inputs"):
        (tmp_path / name).mkdir()
    (tmp_path / "inputs" / "scene").write_text("of the job\n")
    (tmp_path / "secret").write_text("of somebody else\n")
    needs = tmp_path / "output" / "needs"
    needs.mkdir()
    (needs / "picture").write_text("of another frame\n")
    return View(
        folder=tmp_path / "output",
        temporary=tmp_path / "tmp",
        readable=(tmp_path / "inputs", needs),
    )


def run(view: View, *argv: str, house: Sandbox = CLOSED) -> Outcome:
    return process.run(
        Command(argv=argv),
        sandbox=house,
        view=view,
        read_line=lambda _: None,
        on_progress=lambda _: None,
        limits=Limits(time=60),
        stop=Stop(),
    )


def says(view: View, script: str) -> list[str]:
    return run(view, "/bin/sh", "-c", script).log.decode().splitlines()


def test_a_program_finds_its_files_where_they_are_and_writes_to_its_folder_alone(view: View) -> None:
    inputs = view.folder.with_name("inputs")
    said = says(view, f"pwd; cat {inputs}/scene needs/picture; echo done >result; echo x >/tmp/x; echo x >/dev/shm/y")
    assert said[:3] == [str(view.folder), "of the job", "of another frame"]
    assert (view.folder / "result").read_text() == "done\n"
    assert {path.name for path in view.temporary.iterdir()} >= {"x", "y"}


@pytest.mark.parametrize(
    "place", ["/x", "/etc/x", "/usr/x", "/dev/x", "/root/x", "{inputs}/x", "{inputs}/scene", "needs/x", "needs/picture"]
)
def test_nothing_can_be_written_elsewhere(view: View, place: str) -> None:
    inputs = view.folder.with_name("inputs")
    assert run(view, "/bin/sh", "-c", f"echo x >{place.format(inputs=inputs)}").trouble is not None
    assert (inputs / "scene").read_text() == "of the job\n"
    assert (view.folder / "needs" / "picture").read_text() == "of another frame\n"


def test_the_files_of_this_machine_and_of_other_jobs_are_not_there(view: View) -> None:
    secret = view.folder.with_name("secret")
    for path in ("/etc/passwd", "/etc/shadow", "/etc/hostname", "/root/.bashrc", "/home", "/var", "/sys", secret):
        assert run(view, "/bin/ls", str(path)).trouble is not None, path


def test_no_program_is_root_or_sees_others_or_the_workers_environment(
    view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTREN_BROKER", "amqp://user:secret@farm/")
    assert says(view, "id -u") == ["65534"]
    assert "CapEff:\t0000000000000000" in says(view, "cat /proc/self/status")
    assert int(says(view, "ls -d /proc/[0-9]* | wc -l")[0]) < 8
    assert "secret" not in "".join(says(view, "env; tr '\\0' '\\n' </proc/1/environ"))


def test_there_is_no_network(view: View) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
        outcome = run(view, sys.executable, "-c", script)
    assert outcome.trouble is not None
    assert "refused" in outcome.trouble.text


def test_a_scene_that_reads_the_machines_users_fails_and_says_so(view: View) -> None:
    inputs = view.folder.with_name("inputs")
    (inputs / "scene.pov").write_text('#fopen F "/etc/passwd" read\n#read (F, A)\nsphere { 0, 1 }\n')
    task = Task(
        frame=1, first=1, last=1, width=8, height=8, settings={"scene": "scene.pov"}, inputs=inputs, output=view.folder
    )
    povray = PovRay()
    outcome = process.run(
        povray.command(task, None),
        sandbox=CLOSED,
        view=view,
        read_line=povray.read_line,
        on_progress=lambda _: None,
        limits=Limits(time=60),
        stop=Stop(),
    )
    assert outcome.trouble is not None
    assert "/etc/passwd" in outcome.trouble.text


def test_a_program_outside_of_the_system_is_there_and_what_the_owner_shares(view: View, tmp_path: Path) -> None:
    program = tmp_path / "opt" / "render"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\ncat $1\n")
    program.chmod(0o755)
    shared = Sandbox(mode=Mode.SANDBOX, shared=(tmp_path / "secret",))
    assert run(view, str(program), str(tmp_path / "secret")).trouble is not None
    assert run(view, str(program), str(tmp_path / "secret"), house=shared).log == b"of somebody else\n"


def test_our_own_python_sees_its_libraries_and_distren(view: View) -> None:
    outcome = run(view, sys.executable, "-I", "-c", "import distren.errors, numpy, OpenImageIO")
    assert outcome.trouble is None


def test_a_machine_without_bubblewrap_renders_all_the_same_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = sandbox.find("auto", shared=(), folder=tmp_path)
    assert found.mode is Mode.BARE
    assert "apt install bubblewrap" in found.why
    with pytest.raises(SettingsError, match="apt install bubblewrap"):
        sandbox.find("on", shared=(), folder=tmp_path)


def test_the_setting_decides(tmp_path: Path) -> None:
    assert sandbox.find("auto", shared=(), folder=tmp_path).is_closed
    assert sandbox.find("on", shared=(), folder=tmp_path).is_closed
    assert not sandbox.find("off", shared=(), folder=tmp_path).is_closed
    with pytest.raises(SettingsError, match="no absolute path"):
        sandbox.find("auto", shared=(Path("opt"),), folder=tmp_path)
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []


def test_a_keeper_that_can_start_nothing_is_no_fault_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bubblewrap = tmp_path / "bwrap"
    bubblewrap.write_text("no program")
    bubblewrap.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert "no program can be started: " in sandbox.find("auto", shared=(), folder=tmp_path / "try").why


def test_a_folder_that_can_not_be_written_to_ends_the_worker(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OutputError, match="cache/sandbox can not be written to: Not a directory"):
        sandbox.find("auto", shared=(), folder=tmp_path / "cache" / "sandbox")


WORKER = """
import sys, threading
from pathlib import Path
from distren.worker import child, sandbox
from distren.worker.sandbox import Mode, Sandbox, View

folder = Path(sys.argv[1])
house = Sandbox(mode=Mode(sys.argv[2]))
view = View(folder=folder / "output", temporary=folder / "tmp")
running = []
thread = threading.Thread(target=lambda: running.append(child.start(["/bin/sh", "-c", sys.argv[3]], house, view)))
thread.start()
thread.join()
print("its thread has ended", flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("mode", Mode)
def test_a_program_outlives_the_thread_that_began_it_but_never_the_worker(view: View, mode: Mode) -> None:
    """Also one that ignores signals, and has left its session, its parent and its environment."""
    sleep = f"sleep 300.{zlib.crc32(bytes(view.folder))}"
    script = f"trap '' TERM HUP INT; (env -i setsid {sleep} &) & {sleep} & wait"

    def asleep() -> int:
        return sum(one.info["cmdline"] == sleep.split() for one in psutil.process_iter(["cmdline"]))

    argv = [sys.executable, "-c", WORKER, str(view.folder.parent), mode, script]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"its thread has ended\n"
        wait_for(lambda: asleep() == 2)
        worker.kill()
    wait_for(lambda: asleep() == 0)


def test_a_sandbox_that_is_being_made_when_the_worker_is_killed_comes_to_nothing(
    view: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bubblewrap asks the kernel to end with its parent only a while after its start: here, after a very long one."""
    slow, number = tmp_path / "bin" / "bwrap", tmp_path / "number"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\necho $$ >{number}.new; mv {number}.new {number}; sleep 300; exec {BWRAP} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{sandbox.PATH}")
    argv = [sys.executable, "-c", WORKER, str(view.folder.parent), Mode.SANDBOX, "true"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as worker:
        wait_for(number.exists)
        worker.kill()
    left = Path("/proc", number.read_text().strip(), "cmdline")
    wait_for(lambda: not (left.exists() and left.read_bytes()))  # of one that has ended nothing is in there
