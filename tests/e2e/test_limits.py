"""Programs and scenes that take more than they may: each is ended, says why in one line, and leaves nothing."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from distren.config import Settings
from distren.renderers.povray import PovRay
from distren.renderers.protocol import Command, Task
from distren.wire.fields import Blob
from distren.wire.frames import Render
from distren.worker import limits, process
from distren.worker.limits import Limits
from distren.worker.process import Outcome, Stop
from distren.worker.sandbox import Mode, Sandbox, View

CLOSED = Sandbox(mode=Mode.SANDBOX)
MB = 10**6


@pytest.fixture
def view(tmp_path: Path) -> View:
    for name in ("output", "tmp", "inputs"):
        (tmp_path / name).mkdir()
    return View(folder=tmp_path / "output", temporary=tmp_path / "tmp", readable=(tmp_path / "inputs",))


def run(view: View, *argv: str, **allowed: float) -> Outcome:
    return process.run(
        Command(argv=argv),
        sandbox=CLOSED,
        view=view,
        read_line=lambda _: None,
        on_progress=lambda _: None,
        limits=Limits(**{"time": 60, **allowed}),  # type: ignore[arg-type]
        stop=Stop(),
    )


def scene(view: View, text: str, **allowed: float) -> Outcome:
    """The outcome of a POV-Ray scene."""
    inputs = view.folder.with_name("inputs")
    (inputs / "scene.pov").write_text("#version 3.7;\n" + text)
    settings = {"scene": "scene.pov"}
    task = Task(frame=1, first=1, last=1, width=8, height=8, settings=settings, inputs=inputs, output=view.folder)
    return run(view, *PovRay().command(task, None).argv, **allowed)


def why(outcome: Outcome) -> str:
    assert outcome.trouble is not None
    assert "\n" not in outcome.trouble.text
    return outcome.trouble.text


def assert_nothing_is_left(view: View) -> None:
    """No process works in the attempt's folder any more."""
    for one in psutil.process_iter(["cwd", "cmdline"]):
        assert one.info["cwd"] != str(view.folder), one.info["cmdline"]


def test_a_program_that_says_nothing_is_ended(view: View) -> None:
    outcome = run(view, "/bin/sh", "-c", "echo begun; exec sleep 100", silence=0.5)
    assert why(outcome) == "said nothing for 0.5 s, which is its limit"
    assert outcome.seconds < 50


def test_a_program_that_speaks_in_time_is_not(view: View) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do echo line; sleep 0.5; done"
    assert run(view, "/bin/sh", "-c", script, silence=3.5).trouble is None


def test_a_scene_that_computes_for_ever_is_ended(view: View) -> None:
    outcome = scene(view, "#declare I = 0; #while (1) #declare I = I + 1; #end", time=1.0)
    assert why(outcome) == "rendered longer than its limit of 1 s"
    assert_nothing_is_left(view)


def test_a_program_that_eats_memory_is_ended(view: View) -> None:
    script = "import time\nhoard = []\nwhile True: hoard.append(b'x' * 10_000_000); time.sleep(0.005)"
    outcome = run(view, sys.executable, "-c", script, memory=200 * MB)
    assert "of memory, more than its limit of 200 MB" in why(outcome)
    assert outcome.memory > 200 * MB


def test_the_processes_of_an_attempt_are_counted_together(view: View) -> None:
    eater = "hoard = b'x' * 60_000_000; import time; time.sleep(60)"
    script = f'for i in 1 2 3 4; do {sys.executable} -c "{eater}" & done; wait'
    shared = View(
        folder=view.folder,
        temporary=view.temporary,
        readable=(Path(sys.prefix), Path(sys.base_prefix)),
    )
    assert "more than its limit of 150 MB" in why(run(shared, "/bin/sh", "-c", script, memory=150 * MB))
    assert_nothing_is_left(view)


def test_a_scene_that_eats_memory_is_ended(view: View) -> None:
    fill = "#declare A[I] = <I, I, I, I>; #declare I = I + 1;"
    text = f"#declare A = array[20000000]; #declare I = 0; #while (I < 20000000) {fill} #end"
    assert "more than its limit of 100 MB" in why(scene(view, text, memory=100 * MB))


def test_a_program_that_fills_the_disk_with_many_files_is_ended(view: View) -> None:
    script = "i=0; while :; do head -c 1000000 /dev/zero >$i; i=$((i+1)); done"
    outcome = run(view, "/bin/sh", "-c", script, output=30 * MB)
    assert why(outcome).startswith("wrote ")
    assert "more than its limit of 30 MB" in why(outcome)


def test_a_program_that_fills_slash_tmp_is_ended(view: View) -> None:
    script = "i=0; while :; do head -c 1000000 /dev/zero >/tmp/$i; i=$((i+1)); done"
    assert "more than its limit of 30 MB" in why(run(view, "/bin/sh", "-c", script, output=30 * MB))


def test_a_program_that_writes_one_endless_file_is_ended(view: View) -> None:
    outcome = run(view, "/bin/dd", "if=/dev/zero", "of=large", "bs=1M", output=20 * MB)
    assert "larger than its limit of 20 MB" in why(outcome) or "more than its limit" in why(outcome)
    assert (view.folder / "large").stat().st_size <= 20 * MB


def test_a_scene_that_fills_the_disk_is_ended(view: View) -> None:
    text = """#fopen F "large" write
#while (1) #write (F, "a line that is written again and again and again and again and again\\n") #end
"""
    assert scene(view, text, output=1 * MB).trouble is not None
    assert sum(file.stat().st_size for file in view.folder.iterdir()) <= 2 * MB


def test_a_render_ends_before_the_disk_is_full(view: View) -> None:
    outcome = run(view, "/bin/sleep", "100", free=2**62)
    assert "the worker's disk has only" in why(outcome)


def test_a_program_that_starts_hundreds_of_others_is_ended(view: View) -> None:
    script = "i=0; while [ $i -lt 600 ]; do sleep 100 & i=$((i+1)); done; wait"
    assert why(run(view, "/bin/sh", "-c", script)) == "ran more than 500 processes at once"
    assert_nothing_is_left(view)


def test_a_scene_can_not_run_a_shell(view: View) -> None:
    (view.folder.with_name("inputs") / "scene.ini").write_text(
        "Input_File_Name=scene.pov\nPre_Scene_Command=touch ran\nPost_Frame_Command=touch ran\n"
    )
    scene(view, "camera { location -z } sphere { 0, 1 }")
    assert not (view.folder / "ran").exists()


def test_the_peak_of_an_attempt_is_that_of_its_processes(view: View) -> None:
    began = time.monotonic()
    script = "x = b'x' * 120_000_000; import time; time.sleep(0.8)"
    outcome = run(view, sys.executable, "-c", script)
    assert time.monotonic() - began >= 0.8
    assert 120 * MB < outcome.memory < 200 * MB


def test_the_stricter_of_job_and_owner_counts() -> None:
    render = Render(
        job=1,
        frame=1,
        issue=1,
        renderer="povray",
        manifest=Blob(digest="0" * 64, size=1),
        first=1,
        last=1,
        time_limit=100.0,
        memory_limit=500,
    )
    own = limits.configured(Settings(memory_limit=400, silence_limit=30), memory=1_000)  # type: ignore[arg-type]
    allowed = limits.of(render, own)
    assert (allowed.time, allowed.silence, allowed.memory, allowed.output) == (100.0, 30.0, 400, None)
    assert limits.configured(Settings(), memory=1_000).memory == 950
