"""Jobs of the renderer `scripted`, whose frames take milliseconds, and a farm that can render them."""

from __future__ import annotations

from pathlib import Path

from farm_processes import FarmProcesses

from distren.client.farm import Farm
from distren.client.job import Job
from distren.domain import frameset
from distren.domain.job import JobSpec, Limits
from distren.jobfile.writer import write_jobfile

SITE = str(Path(__file__).parent / "scripted_renderer")
WRITE = 'echo "frame $1" > "$1.txt"'


def seed(folder: Path, frames: str, script: str = WRITE, *, attempts: int = 3, extra: bytes = b"") -> Path:
    """The folder of a job; `extra` is the content of one more input file."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = JobSpec(
        name=folder.name,
        renderer="scripted",
        frames=frameset.parse(frames),
        settings={"script": script},
        limits=Limits(attempts=attempts),
    )
    (folder / "distrenjob.xml").write_bytes(write_jobfile(spec))
    if extra:
        (folder / "extra.bin").write_bytes(extra)
    return folder


def worker(processes: FarmProcesses, name: str, slots: int = 2, **changes: str) -> None:
    """Start a worker that has the renderer."""
    flags = ("--slots", str(slots), "--name", name, "--renderers", "scripted")
    processes.start("worker", *flags, name=name, PYTHONPATH=SITE, **changes)


def server(processes: FarmProcesses, name: str = "server", called: str = "alpha", **changes: str) -> None:
    """Start a server that knows the renderer."""
    processes.start("server", "--server", called, name=name, PYTHONPATH=SITE, **changes)


def submit(farm: Farm, folder: Path, frames: str, script: str = WRITE, **options: object) -> Job:
    return farm.submit(seed(folder, frames, script, **options))  # type: ignore[arg-type]


def assert_whole(job: Job, frames: int, folder: Path, more: bytes = b"") -> None:
    """Every frame is done, by one recorded attempt, and its file is the right one; `more` ends each."""
    info = job.info()
    assert info.counts == {"done": frames}, info
    for frame in job.frames():
        attempts = job.attempts(frame.frame)
        assert [one.state for one in attempts].count("done") == 1, attempts
        assert [one.number for one in attempts] == list(range(1, len(attempts) + 1))
    job.fetch(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{n}.txt" for n in range(1, frames + 1))
    for number in range(1, frames + 1):
        assert (folder / f"{number}.txt").read_bytes() == f"frame {number}\n".encode() + more
