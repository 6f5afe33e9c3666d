"""Programs that stay and render one frame after the other; a small one of ours plays the renderer."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from blenders import Laid
from processes import has_ended
from waiting import wait_for

from distren.domain.job import Blob
from distren.renderers.protocol import Command, ExpectedFile, Progress, Trouble
from distren.worker import sandbox, staying
from distren.worker.limits import Limits
from distren.worker.places import Places
from distren.worker.process import CENSUS, Stop
from distren.worker.sandbox import View
from distren.worker.session import Answered
from distren.worker.staying import Frame

PROGRAM = """
import json, os, socket, sys, time
channel = socket.socket(fileno=os.dup(0))
print("loaded", flush=True)
for line in channel.makefile("rb"):
    request = json.loads(line)
    output = request["output"]
    exec(request["do"])
    print("rendered", request["frame"], flush=True)
    open(output + "/a.txt", "w").write(f"{request['frame']} by {os.getpid()} in {os.getcwd()}")
    channel.sendall(json.dumps(request.get("answer", {"files": [{"name": "a.txt"}]})).encode() + b"\\n")
"""
INTRUDE = """
for do in (lambda: os.unlink("a.txt", dir_fd=kept), lambda: os.symlink("/etc/passwd", "a.txt", dir_fd=kept)):
    try:
        do()
    except FileNotFoundError:
        pass
"""
MANIFEST = Blob(digest="0" * 64, size=1)


def read_line(line: str) -> Progress | Trouble | None:
    if line.endswith("%"):
        return Progress(float(line[:-1]))
    return Trouble(line.removeprefix("Error: "), permanent=True) if line.startswith("Error: ") else None


class Worker:
    """Renders frames with the program above, each attempt in a folder of its own."""

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.places, self.clock = scratch, Places(clock=lambda: self.now), 0
        self.sandbox = sandbox.find("auto", shared=(), folder=scratch)
        self.inputs = scratch / "inputs"
        self.inputs.mkdir()
        self.now = 0.0

    def render(
        self,
        frame: int,
        do: str = "",
        *,
        job: int = 1,
        scene: str = "a",
        alone: bool = False,
        limits: Limits = Limits(time=60.0),  # noqa: B008  it is frozen
        stop: Stop | None = None,
        told: Callable[[float], None] = lambda _: None,
        **request: object,
    ) -> tuple[Answered, Path]:
        self.clock += 1
        folder = self.scratch / f"attempt{self.clock}"
        view = View(folder=folder / "output", temporary=folder / "tmp")
        view.folder.mkdir(parents=True)
        view.temporary.mkdir()
        argv = (sys.executable, "-I", "-c", PROGRAM, scene)
        reads = (Path(sys.prefix), Path(sys.base_prefix))
        command = Command(argv=argv, reads=reads, request={"frame": frame, "do": do, **request})
        with self.places.taken(job) as place:
            answered = staying.render(
                Frame(job=job, manifest=MANIFEST, command=command, view=view, alone=alone),
                place,
                cache=Laid(self.inputs),
                sandbox=self.sandbox,
                read_line=read_line,
                on_progress=told,
                limits=limits,
                stop=stop or Stop(),
            )
        return answered, view.folder


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    made = Worker(tmp_path)
    yield made
    made.places.close()
    assert programs() == []
    assert CENSUS.running == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("stays-")] == []


def programs() -> list[psutil.Process]:
    """The programs above that run now."""
    return [one for one in psutil.Process().children(recursive=True) if PROGRAM in _command(one)]


def _command(process: psutil.Process) -> list[str]:
    try:
        return [] if process.name() == "bwrap" or has_ended(process) else process.cmdline()
    except psutil.Error:
        return []


def who(folder: Path) -> str:
    return (folder / "a.txt").read_text().partition(" by ")[2]


def reason(answered: Answered) -> str:
    assert answered.outcome.trouble is not None
    return answered.outcome.trouble.text


def test_one_program_renders_frame_after_frame_each_with_its_own_log(worker: Worker) -> None:
    first, at = worker.render(1)
    second, then = worker.render(7)
    assert first.files == second.files == (ExpectedFile(name="a.txt"),)
    assert who(at) == who(then)
    assert (first.outcome.log, second.outcome.log) == (b"loaded\nrendered 1\n", b"rendered 7\n")
    assert first.outcome.trouble is None
    assert first.outcome.memory > 2**20


def test_another_scene_or_another_job_gets_a_program_of_its_own(worker: Worker) -> None:
    names = [who(worker.render(1, scene=scene, job=job)[1]) for scene, job in (("a", 1), ("b", 1), ("b", 2))]
    assert len(set(names)) == 3
    assert len(programs()) == 1  # there is one place, and it was wanted


def test_progress_is_told_while_a_frame_renders(worker: Worker) -> None:
    told: list[float] = []
    worker.render(1, "print('50%', flush=True); print('75%', flush=True)", told=told.append)
    assert told == [50.0, 75.0]


@pytest.mark.parametrize(
    ("do", "answer", "words"),
    [
        ("os._exit(3)", None, "ended with status 3"),
        ("print('Error: no camera', flush=True); os._exit(1)", None, "no camera"),
        ("os.kill(os.getpid(), 11)", None, "was ended by SIGSEGV"),
        ("os._exit(0)", None, "ended in the middle of a frame"),
        ("", {"trouble": "texture missing", "permanent": True}, "texture missing"),
        ("", {"files": [{"name": "../escaped"}]}, "can not be understood"),
        ("", {"files": [{"name": "a.txt", "width": "wide"}]}, "can not be understood"),
        ("", ["files"], "can not be understood"),
        ("channel.sendall(b'no json\\n')", None, "can not be understood"),
        ("channel.sendall(b'x' * 5_000_000); time.sleep(60)", None, "more than it may"),
        ("channel.shutdown(2); time.sleep(60)", None, "closed its end"),
    ],
)
def test_a_program_that_fails_at_a_frame_fails_that_frame_alone(
    worker: Worker, do: str, answer: object, words: str
) -> None:
    before = who(worker.render(1)[1])
    failed, _ = worker.render(2, do, **({} if answer is None else {"answer": answer}))
    assert words in reason(failed)
    assert who(worker.render(3)[1]) != before


def test_a_program_that_has_died_while_it_waited_costs_no_frame(worker: Worker) -> None:
    before = who(worker.render(1)[1])
    for one in programs():
        one.kill()
    wait_for(lambda: not programs())
    answered, at = worker.render(2)
    assert answered.outcome.trouble is None
    assert who(at) != before


def test_a_time_limit_and_a_stop_end_the_program(worker: Worker) -> None:
    answered, _ = worker.render(1, "time.sleep(100)", limits=Limits(time=0.5))
    assert answered.outcome.over
    assert programs() == []
    stop = Stop()
    timer = threading.Thread(target=lambda: (wait_for(lambda: bool(programs())), stop.set()))
    timer.start()
    began = time.monotonic()
    answered, folder = worker.render(1, "time.sleep(100)", stop=stop)
    timer.join()
    assert answered.outcome.stopped
    assert time.monotonic() - began < 50
    assert folder.is_dir()


GROW = "hoard = []\nwhile True: hoard.append(b'x' * 5_000_000); time.sleep(0.01)"
FILL = "i = 0\nwhile True: i += 1; open(f'{folder}/{i}', 'wb').write(b'x' * 1_000_000)"
ENDLESS = """
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
with open('/tmp/big', 'wb') as file:
    while True: file.write(b'x' * 1_000_000)
"""
SPIN = "import threading; threading.Thread(target=lambda: [0 for _ in iter(int, 1)], daemon=True).start()"


@pytest.mark.parametrize(
    ("do", "limits", "words"),
    [
        ("time.sleep(100)", Limits(time=60.0, silence=5.0), "said nothing for 5 s"),
        (GROW, Limits(time=60.0, memory=150 * 10**6), "of memory, more than its limit of 150 MB"),
        ("folder = output\n" + FILL, Limits(time=60.0, output=30 * 10**6), "more than its limit of 30 MB"),
        ("folder = '/tmp'\n" + FILL, Limits(time=60.0, output=30 * 10**6), "more than its limit of 30 MB"),
        (ENDLESS, Limits(time=60.0, output=30 * 10**6), "larger than its limit of 30 MB"),
    ],
)
def test_every_limit_ends_the_frame_that_breaks_it_and_no_other(
    worker: Worker, do: str, limits: Limits, words: str
) -> None:
    worker.sandbox = sandbox.find("on", shared=(), folder=worker.scratch)
    assert worker.render(1, limits=limits)[0].outcome.trouble is None
    failed, _ = worker.render(2, do, limits=limits)
    assert words in reason(failed)
    assert programs() == []
    assert worker.render(3, limits=limits)[0].outcome.trouble is None


def test_a_program_stands_still_between_two_frames(worker: Worker) -> None:
    """A scene that goes on in a thread of its own takes nothing while nobody looks."""
    worker.render(1, SPIN)
    wait_for(lambda: [one.status() for one in programs()] == [psutil.STATUS_STOPPED])
    assert worker.render(2)[0].outcome.trouble is None


def test_the_peak_of_memory_is_that_of_the_frame(worker: Worker) -> None:
    large, _ = worker.render(1, "hoard = b'x' * 150_000_000; del hoard")
    small, _ = worker.render(2)
    assert small.outcome.memory < 120 * 10**6 < 150 * 10**6 < large.outcome.memory


def test_a_link_in_the_place_of_a_folder_is_not_followed(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.txt").write_text("secret")
    do = f"os.symlink({str(tmp_path / 'secret')!r}, output + '/sub')"
    answered, _ = worker.render(1, do, answer={"files": [{"name": "sub/a.txt"}]})
    assert "a folder that is a link" in reason(answered)
    do = f"os.rename(output, output + '-gone'); os.symlink({str(tmp_path / 'secret')!r}, output); os.chdir('/')"
    answered, folder = worker.render(1, do)
    assert folder.is_dir()
    assert not folder.is_symlink()
    assert list(folder.iterdir()) == []
    assert (tmp_path / "secret" / "a.txt").read_text() == "secret" or worker.sandbox.mode is not sandbox.Mode.SANDBOX


def test_what_a_frame_has_left_is_out_of_the_reach_of_the_next_one(worker: Worker) -> None:
    """The next frame renders while the files of the last one are looked at."""
    _, first = worker.render(1, "kept = os.open(output, os.O_RDONLY); os.mkdir(output + '/more')")
    before = who(first)
    answered, second = worker.render(2, INTRUDE)
    assert answered.outcome.trouble is None
    assert who(second) == before  # the same program
    assert [path.name for path in first.iterdir()] == ["a.txt"]
    assert (first / "a.txt").is_file()
    assert not (first / "a.txt").is_symlink()
    assert who(first) == before


def test_a_frame_that_needs_others_has_its_own_program_which_sees_them(worker: Worker) -> None:
    before = who(worker.render(1)[1])
    answered, at = worker.render(2, alone=True)
    assert answered.outcome.trouble is None
    assert who(at) != before
    assert who(worker.render(3)[1]) == before


def test_a_program_that_waits_for_long_is_ended(worker: Worker) -> None:
    worker.render(1)
    worker.now = 59.0
    worker.places.tick(scarce=lambda: False)
    assert len(programs()) == 1
    worker.now = 61.0
    worker.places.tick(scarce=lambda: False)
    assert programs() == []


def test_programs_are_ended_where_memory_is_scarce_or_their_job_is_over(worker: Worker) -> None:
    worker.render(1)
    worker.places.tick(scarce=lambda: True)
    assert programs() == []
    worker.render(1, job=5)
    worker.places.forget(4)
    worker.places.tick(scarce=lambda: False)
    assert len(programs()) == 1
    worker.places.forget(5)
    worker.places.tick(scarce=lambda: False)
    assert programs() == []


def test_a_render_takes_the_place_where_its_job_is_loaded(worker: Worker) -> None:
    with worker.places.taken(1) as first, worker.places.taken(2) as second:
        assert (first.number, second.number) == (0, 1)
        first.job, second.job = 1, 2
    with worker.places.taken(2) as again:
        assert again is second
    with worker.places.taken(3) as other:
        assert other is first
    first.job = second.job = None


def test_requests_and_answers_are_json_of_one_line(worker: Worker) -> None:
    text = "a\nb\u2028\u00e9" * 1000
    answer = {"files": [{"name": "a.txt"}, {"name": "t"}]}
    answered, at = worker.render(1, "json.dump(request['text'], open(output + '/t', 'w'))", text=text, answer=answer)
    assert answered.outcome.trouble is None
    assert json.loads((at / "t").read_text()) == text
